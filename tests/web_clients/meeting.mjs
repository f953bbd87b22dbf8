// Two clients of switchboard.js that talk in one room without a pause, whatever happens to their connections. Runs in Node,
// in Deno and in browsers.

const seconds = () => Math.floor(Date.now() / 1000);

const base64 = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

async function signed(secret, claims) {
  const utf8 = (text) => new TextEncoder().encode(text);
  const key = await crypto.subtle.importKey("raw", utf8(secret), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const body = [{ alg: "HS256", typ: "JWT" }, claims].map((part) => base64(utf8(JSON.stringify(part)))).join(".");
  return `${body}.${base64(await crypto.subtle.sign("HMAC", key, utf8(body)))}`;
}

export class Meeting {
  tokensAsked = 0;
  // While this is true, no token is to be had.
  isWithoutTokens = false;
  failures = [];
  gaps = [];

  constructor(Switchboard, url, secret, { ttl = 3, ...options } = {}) {
    this.clients = ["ada", "bob"].map((user) => new Switchboard(url, { storage: null, queueMax: 100_000, ...options, token: () => {
      this.tokensAsked++;
      if (this.isWithoutTokens) throw new Error("there are no tokens");
      return signed(secret, { sub: user, exp: seconds() + ttl });
    } }));
    this.rooms = this.clients.map((client) => client.join("tea"));
    this.sent = [0, 0];
    this.acknowledged = [0, 0];
    this.heard = [[], []];
    this.rooms.forEach((room, index) => {
      room.on("number", (number) => this.heard[index].push(number));
      room.when("gap", (gap) => this.gaps.push(gap));
    });
  }

  async begin() {
    await Promise.all(this.rooms.map((room) => room.joined));
    this.timer = setInterval(() => this.rooms.forEach((room, index) => {
      const number = this.sent[index]++;
      room.publish("number", number).then(() => this.acknowledged[index]++, (error) => this.failures.push(`${number} ${error.code}`));
    }), 5);
    return true;
  }

  drop() {
    this.clients.forEach((client) => client.drop());
    return true;
  }

  isBack() {
    return this.clients.every((client) => client.state === "online") && this.rooms.every((room) => room.isJoined);
  }

  isCut() {
    return this.clients.every((client) => client.state !== "online");
  }

  // Everything that was said by one has been heard by the other.
  isHeard() {
    clearInterval(this.timer);
    return [0, 1].every((index) => this.acknowledged[index] === this.sent[index] && this.heard[1 - index].length >= this.sent[index]);
  }

  // What is wrong with what was heard.
  faults() {
    const faults = [...this.failures, ...this.gaps.map((gap) => JSON.stringify(gap))];
    this.heard.forEach((numbers, index) => {
      const at = numbers.findIndex((number, place) => number !== place);
      if (at >= 0) faults.push(`client ${index} heard ${numbers.slice(at - 2, at + 3)} at ${at}`);
      if (numbers.length !== this.sent[1 - index]) faults.push(`client ${index} heard ${numbers.length} of ${this.sent[1 - index]}`);
    });
    return faults;
  }

  close() {
    clearInterval(this.timer);
    this.clients.forEach((client) => client.close());
    return true;
  }
}
