// A stand-in for WebSocket where these are blocked: the frames to the client are the content of one answer that does not
// end, its own go as the bodies of POSTs, one at a time. `switchboard.js` loads it when a WebSocket does not open.

const PAUSE_MS = 200;
// What one POST may have.
const BODY_BYTES = 32 * 1024;

export default class StreamSocket {
  readyState = 0;

  #url;
  #abort = new AbortController();
  // The recovery token of the connection, by which the server knows its frames.
  #key;
  #queue = [];
  #isSending = false;

  constructor(url, [, token] = []) {
    this.#url = new URL(url);
    this.#url.protocol = this.#url.protocol.replace("ws", "http");
    this.#url.searchParams.set("transport", "stream");
    this.#run(token);
  }

  send(text) {
    this.#push(1, new TextEncoder().encode(text));
  }

  close(code = 1000) {
    if (this.readyState > 1) return;
    this.readyState = 2;
    this.#push(8, new Uint8Array([code >> 8, code & 255]));
    setTimeout(() => this.#abort.abort(), PAUSE_MS);
  }

  #ask(method, token, body) {
    return fetch(this.#url, {
      method,
      body,
      cache: "no-store",
      credentials: "omit",
      signal: this.#abort.signal,
      headers: token ? { Authorization: `Bearer ${token}` } : {},
    });
  }

  async #run(token) {
    let ending = { code: 1006, reason: "" };
    try {
      const answer = await this.#ask("GET", token);
      if (answer.ok) ending = (await this.#read(answer.body.getReader())) ?? ending;
    } catch {
      // The connection is lost, or was closed here.
    }
    this.readyState = 3;
    this.#abort.abort();
    this.onclose?.(ending);
  }

  // Reads frames until one of them closes the connection.
  async #read(reader) {
    let bytes = new Uint8Array();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      bytes = joined([bytes, value]);
      for (let frame; (frame = firstFrame(bytes)); bytes = bytes.subarray(frame.end)) {
        const { kind, payload } = frame;
        if (kind === 8) {
          const reason = new TextDecoder().decode(payload.subarray(2));
          return { code: payload.length > 1 ? (payload[0] << 8) | payload[1] : 1005, reason };
        }
        if (kind === 9) this.#push(10, payload);
        if (kind === 1) this.#receive(new TextDecoder().decode(payload));
      }
    }
  }

  #receive(data) {
    if (!this.#key) {
      this.#key = JSON.parse(data).recoveryToken;
      this.readyState = 1;
      this.onopen?.({});
    }
    this.onmessage?.({ data });
    this.#flush();
  }

  #push(kind, payload) {
    this.#queue.push(frameOf(kind, payload));
    this.#flush();
  }

  async #flush() {
    if (this.#isSending || !this.#key) return;
    this.#isSending = true;
    try {
      while (this.#queue.length) {
        let size = this.#queue[0].length;
        let count = 1;
        while (count < this.#queue.length && size + this.#queue[count].length <= BODY_BYTES) size += this.#queue[count++].length;
        const answer = await this.#ask("POST", this.#key, joined(this.#queue.slice(0, count)));
        if (answer.ok) this.#queue.splice(0, count);
        else if (answer.status !== 503 && answer.status !== 429) throw new Error(answer.statusText);
        else await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      }
    } catch {
      this.#abort.abort();
    }
    this.#isSending = false;
  }
}

function joined(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

// A frame of a client (RFC 6455 §5.2); its mask is zero, since no script of others chooses what goes over this connection.
function frameOf(kind, payload) {
  const { length } = payload;
  const head = new DataView(new ArrayBuffer(14));
  head.setUint8(0, 0x80 | kind);
  head.setUint8(1, 0x80 | (length < 126 ? length : length < 65_536 ? 126 : 127));
  if (length >= 65_536) head.setBigUint64(2, BigInt(length));
  else if (length >= 126) head.setUint16(2, length);
  const size = length < 126 ? 6 : length < 65_536 ? 8 : 14;
  return joined([new Uint8Array(head.buffer, 0, size), payload]);
}

// The first frame of these bytes, if it is whole.
function firstFrame(bytes) {
  if (bytes.length < 2) return;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const short = bytes[1] & 127;
  const start = short < 126 ? 2 : short === 126 ? 4 : 10;
  if (bytes.length < start) return;
  const length = short < 126 ? short : short === 126 ? view.getUint16(2) : Number(view.getBigUint64(2));
  const end = start + length;
  if (bytes.length < end) return;
  return { kind: bytes[0] & 15, payload: bytes.subarray(start, end), end };
}
