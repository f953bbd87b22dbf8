// Types of the client of Switchboard's raw protocol.

/** A set of application events: names with the types of their data. `message` is the event without a name. */
export type AnyEvents = Record<string, any>;
type Name<E> = keyof E & string;
type Off = () => void;

export interface Message<T = unknown> {
  id: string;
  /** The number in the room; absent in messages to one member or user. */
  seq?: number;
  roomId?: string;
  sender: string;
  displayName?: string;
  fromPeerId?: string;
  toPeerId?: string;
  event: string;
  data: T;
  messageType?: string;
  replyToId?: string;
  attachment?: unknown;
  metadata?: unknown;
  timestamp: number;
}

export interface Sent {
  id: string;
  seq?: number;
  roomId?: string;
  toUserId?: string;
  status: string;
  timestamp: number;
}

export interface MessageOptions {
  toPeerId?: string;
  messageType?: string;
  replyToId?: string;
  attachment?: unknown;
  metadata?: unknown;
  clientMessageId?: string;
}

export interface MediaState {
  audio: boolean;
  video: boolean;
  screen: boolean;
}

export interface Member {
  peerId: string;
  userId: string;
  displayName: string;
  mediaState: MediaState;
  sfu?: number;
}

export interface Presence {
  userId: string;
  displayName: string;
  status: Status;
  lastSeen: number;
}

export type Status = "online" | "away" | "busy" | "offline";
export type State = "connecting" | "online" | "waiting" | "ended";

export interface Receipts {
  roomId: string;
  messageId: string;
  delivered: { userId: string; timestamp: number }[];
  read: { userId: string; timestamp: number }[];
  complete: boolean;
}

/** What came of a request that was refused or cannot be answered any more. */
export class SwitchboardError extends Error {
  /** A code of the protocol, or ENDED, LINK_DOWN, QUEUE_FULL or UNKNOWN_OUTCOME. */
  code: string;
  retryAfterMs?: number;
}

export interface Options {
  /** A token, or what gets one: called for a connection and before the token expires. */
  token?: string | null | (() => string | null | undefined | Promise<string | null | undefined>);
  /** Where the session waits for the next page; null: nowhere. Default: `sessionStorage`. */
  storage?: Pick<Storage, "getItem" | "setItem" | "removeItem"> | null;
  /** The name of the session in the storage, if a page has several clients of one server. */
  name?: string;
  /** How many requests wait for a connection or an answer before further ones are refused. Default: 1,000. */
  queueMax?: number;
  /** The WebSocket of platforms without a built-in one. */
  WebSocket?: unknown;
  /** What loads the transport for networks that let no WebSocket pass; null: none. Default: the server's own. */
  fallback?: (() => Promise<{ default: unknown }>) | null;
}

export interface JoinOptions {
  peerId?: string;
  displayName?: string;
  mediaState?: Partial<MediaState>;
  sfu?: 0 | 1;
}

export interface ClientEvents {
  state: { state: State; retryInMs?: number; reason?: string };
  ready: { isResumed: boolean };
  message: Message;
  presence: Presence;
  error: Error;
}

export class Switchboard {
  static Error: typeof SwitchboardError;
  constructor(url?: string | URL, options?: Options);
  readonly state: State;
  readonly userId: string | null;
  readonly connectionId: string | null;
  when<K extends keyof ClientEvents>(name: K, handler: (value: ClientEvents[K]) => void): Off;
  when(name: string, handler: (value: any) => void): Off;
  join<E extends object = AnyEvents>(roomId: string, options?: JoinOptions): Room<E>;
  request<T = any>(type: string, fields?: object): Promise<T>;
  sendTo(userId: string, content: unknown, options?: MessageOptions): Promise<Sent>;
  presence(status: Status): void;
  retry(): void;
  drop(): void;
  suspend(): void;
  close(reason?: string): void;
}

export interface RoomEvents<E extends object> {
  joined: Room<E>;
  members: ReadonlyMap<string, Member>;
  typing: { userId: string; displayName: string; isTyping: boolean };
  delivered: { messageId: string; userId: string };
  "read-receipt": { messageId: string; userId: string };
  /** Messages that cannot be had any more: those after one `seq` and before the other, or of another epoch. */
  gap: { after: number; before?: number; epoch?: string };
  left: { reason: string; error?: SwitchboardError };
}

export interface Room<E extends object = AnyEvents> {
  readonly id: string;
  /** Fulfilled when the room has been joined for the first time. */
  readonly joined: Promise<Room<E>>;
  readonly isJoined: boolean;
  readonly peerId: string | null;
  readonly count: number;
  readonly members: ReadonlyMap<string, Member>;
  readonly typists: ReadonlyMap<string, string>;
  readonly iceServers: RTCIceServer[];
  readonly connectionMode: "p2p" | "sfu" | null;
  on<K extends Name<E>>(event: K, handler: (data: E[K], message: Message<E[K]>) => void): Off;
  on(event: "*", handler: (data: E[Name<E>], message: Message<E[Name<E>]>) => void): Off;
  when<K extends keyof RoomEvents<E>>(name: K, handler: (value: RoomEvents<E>[K]) => void): Off;
  when(name: string, handler: (value: any) => void): Off;
  publish(content: "message" extends keyof E ? E["message"] : string): Promise<Sent>;
  publish<K extends Name<E>>(event: K, data: E[K], options?: MessageOptions): Promise<Sent>;
  history(part?: { after?: number; limit?: number }): AsyncGenerator<Message<E[Name<E>]>, void, void>;
  typing(isTyping?: boolean): void;
  delivered(messageId: string): void;
  read(messageId: string): void;
  receipts(messageId: string): Promise<Receipts>;
  request<T = any>(type: string, fields?: object): Promise<T>;
  signal(toPeerId: string, type: "offer" | "answer" | "ice-candidate", body: unknown): boolean;
  setMedia(mediaState: Partial<MediaState>): void;
  call(options?: CallOptions): Call;
  leave(): Promise<void>;
}

export interface CallOptions {
  stream?: MediaStream | null;
  config?: RTCConfiguration;
  /** In place of adding the tracks of `stream`: for data channels and other tracks. */
  setup?: (connection: RTCPeerConnection, peerId: string) => void;
}

export interface Call {
  readonly peers: ReadonlyMap<string, { pc: RTCPeerConnection }>;
  when(name: "track", handler: (peerId: string, stream: MediaStream, track: MediaStreamTrack) => void): Off;
  when(name: "peers", handler: (peers: Call["peers"]) => void): Off;
  when(name: "error", handler: (error: Error) => void): Off;
  setStream(stream: MediaStream | null): void;
  close(): void;
}
