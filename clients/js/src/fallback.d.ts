// Types of the transport without WebSockets.

/** A stand-in for `WebSocket`, with as much of it as the client uses. */
export default class StreamSocket {
  constructor(url: string | URL, protocols?: string[]);
  readonly readyState: number;
  onopen?: (event: object) => void;
  onmessage?: (event: { data: string }) => void;
  onclose?: (event: { code: number; reason: string }) => void;
  onerror?: (event: object) => void;
  send(text: string): void;
  close(code?: number): void;
}
