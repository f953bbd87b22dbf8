// A Socket.IO server with rooms. Takes its options as JSON, prints its port, and ends with its standard input.
const { createServer } = require("node:http");
const { Server } = require("socket.io");

const { keepAliveTimeout, ...options } = JSON.parse(process.argv[2]);
const http = createServer((request, response) => response.writeHead(404).end());
if (keepAliveTimeout !== undefined) http.keepAliveTimeout = keepAliveTimeout;
const chat = new Server(http, options).of("/chat");

chat.use((socket, next) => {
  next(socket.handshake.auth.token === "secret" ? undefined : new Error("not authorized"));
});

chat.on("connection", (socket) => {
  let beats = 0;
  socket.conn.on("heartbeat", () => socket.emit("beats", ++beats));
  socket.on("joinRoom", (room) => {
    socket.join(room);
    socket.emit("joinedRoom", room);
  });
  socket.on("sendMessage", ({ roomId, content }) => {
    chat.to(roomId).emit("newMessage", { sender: socket.id, roomId, content });
  });
  socket.on("ask", (question, answer) => answer(question, socket.conn.transport.name));
  socket.on("bytes", () => socket.emit("bytes", Buffer.from([0x1e, 1]), Buffer.from([2])));
  socket.on("leave", () => socket.disconnect(true));
});

http.listen(0, "127.0.0.1", () => console.log(http.address().port));
process.stdin.on("end", () => process.exit()).resume();
