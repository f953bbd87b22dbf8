// A chat in the terminal with the stock client of Socket.IO: joins a room, prints its messages, sends each line of standard
// input.
//
//   npm install
//   TOKEN=… node chat.mjs http://127.0.0.1:8090 tea

import { createInterface } from 'node:readline';
import { io } from 'socket.io-client';

const [, , url = 'http://127.0.0.1:8090', chatId = 'tea'] = process.argv;
const socket = io(`${url}/chat`, { auth: { token: process.env.TOKEN } });

socket.on('connect', async () => {
  // A recovered connection is in its rooms again and gets what it missed.
  if (socket.recovered) return console.log('recovered');
  const { success, message, roomInfo } = await socket.emitWithAck('join:chat', { chatId });
  console.log(success ? `joined ${chatId}, ${roomInfo.participantCount} here` : message);
});
socket.on('connect_error', (error) => console.error(error.message, error.data?.code ?? ''));
socket.on('message:new', ({ user, content }) => console.log(`${user.username}: ${content}`));
socket.on('user:joined', ({ username }) => console.log(`${username} joined`));
socket.on('user:left', ({ username }) => console.log(`${username} left`));

for await (const content of createInterface({ input: process.stdin })) {
  const answer = await socket.timeout(5_000).emitWithAck('message:send', { chatId, content });
  if (!answer.success) console.error(answer.message);
}
socket.disconnect();
