// React hooks for switchboard.js. A room is joined with the first component that uses it and left with the last one.

import { createContext, createElement, useCallback, useContext, useEffect, useState } from "react";

const Client = createContext(null);
const users = new WeakMap();

export const SwitchboardProvider = ({ client, children }) => createElement(Client.Provider, { value: client }, children);

export const useClient = () => useContext(Client);

// Renders the component again.
function useRender() {
  const [, set] = useState(0);
  return useCallback(() => set((count) => count + 1), []);
}

// Runs an effect once there is a room; it returns functions that undo it.
function useListeners(room, listen, inputs = []) {
  useEffect(() => {
    const off = room ? listen() : [];
    return () => off.forEach((it) => it());
  }, [room, ...inputs]);
}

// The room, or null before the first effect. It is joined again if the server has ended it and the id changes.
export function useRoom(roomId, options, client = useContext(Client)) {
  const [room, setRoom] = useState(null);
  const render = useRender();
  useEffect(() => {
    if (!client || !roomId) return;
    const joined = client.join(roomId, options);
    users.set(joined, (users.get(joined) ?? 0) + 1);
    setRoom(joined);
    const off = ["joined", "members", "left"].map((name) => joined.when(name, render));
    return () => {
      off.forEach((it) => it());
      setRoom(null);
      // A component that is shown anew at once goes on with the room.
      setTimeout(() => {
        users.set(joined, users.get(joined) - 1);
        if (!users.get(joined)) joined.leave().catch(() => {});
      });
    };
  }, [client, roomId]);
  return room;
}

// The other members, each with the status of its user.
export function usePresence(room, client = useContext(Client)) {
  const [statuses, setStatuses] = useState({});
  const render = useRender();
  useListeners(room, () => [
    room.when("members", render),
    client.when("presence", ({ userId, status }) => setStatuses((known) => ({ ...known, [userId]: status }))),
  ], [client]);
  return room ? [...room.members.values()].map((member) => ({ ...member, status: statuses[member.userId] ?? "online" })) : [];
}

// The names of those who type, and a function for each key.
export function useTyping(room) {
  const render = useRender();
  useListeners(room, () => ["typing", "members"].map((name) => room.when(name, render)));
  const typing = useCallback((isTyping) => room?.typing(isTyping), [room]);
  return { names: room ? [...room.typists.values()] : [], typing };
}

// The messages of the room in its order: the newest stored ones, those that come, and one's own; those without a receipt
// are at the end.
export function useMessages(room, { limit = 50 } = {}) {
  const [messages, setMessages] = useState([]);
  const [error, setError] = useState(null);
  const add = useCallback((added, replaced) => setMessages((known) => {
    const all = new Map([...known, ...added].filter((message) => message !== replaced).map((message) => [message.id, message]));
    return [...all.values()].sort((one, other) => (one.seq ?? Infinity) - (other.seq ?? Infinity) || 0);
  }), []);
  useListeners(room, () => {
    let isOver = false;
    const load = async () => {
      const stored = [];
      for await (const message of room.history({ limit })) stored.push(message);
      if (!isOver) add(stored);
    };
    setMessages([]);
    load().catch(setError);
    return [room.on("*", (_, message) => add([message])), () => (isOver = true)];
  }, [limit]);
  const publish = useCallback(async (...values) => {
    const [event, data] = values.length > 1 ? values : ["message", values[0]];
    const pending = { id: `pending-${Math.random()}`, event, data, fromPeerId: room.peerId, isOwn: true, isPending: true };
    add([pending]);
    try {
      const sent = await room.publish(...values);
      add([{ ...pending, ...sent, isPending: false }], pending);
      return sent;
    } catch (failure) {
      add([{ ...pending, isPending: false, error: failure }], pending);
      throw failure;
    }
  }, [room]);
  return { messages, publish, error };
}

// A call with the members who call, too; `stream` is one's own picture and sound.
export function useCall(room, { stream = null, ...options } = {}) {
  const [call, setCall] = useState(null);
  const [streams, setStreams] = useState({});
  const render = useRender();
  useListeners(room, () => {
    const made = room.call({ ...options, stream });
    setCall(made);
    return [
      made.when("track", (peerId, remote) => setStreams((known) => ({ ...known, [peerId]: remote }))),
      made.when("peers", render),
      () => made.close(),
      () => setStreams({}),
    ];
  });
  useEffect(() => call?.setStream(stream), [call, stream]);
  const peers = call ? [...call.peers].map(([peerId, { pc }]) => ({ peerId, state: pc.connectionState, stream: streams[peerId] })) : [];
  return { call, peers };
}
