// What the parts of the client share.

export const noop = () => {};
export const random = (from, to) => from + Math.random() * (to - from);
export const newId = () => Date.now().toString(36) + Math.random().toString(36).slice(2, 12);

// Refusals that end by themselves.
export const TEMPORARY = ["OVERLOADED", "STORAGE_UNAVAILABLE", "RATE_LIMITED"];
export const KNOWN_MAX = 1_000;

export class SwitchboardError extends Error {
  constructor(code, text, retryAfter) {
    super(text || code);
    this.name = "SwitchboardError";
    this.code = code;
    this.retryAfterMs = retryAfter && retryAfter * 1000;
  }
}

// Handlers by name. One that throws keeps neither the others nor the next frames from being handled.
export class Handlers {
  #sets = new Map();

  add(name, handler) {
    let set = this.#sets.get(name);
    if (!set) this.#sets.set(name, (set = new Set()));
    set.add(handler);
    return () => set.delete(handler);
  }

  emit(name, ...values) {
    for (const handler of [...(this.#sets.get(name) ?? [])]) {
      try {
        handler(...values);
      } catch (error) {
        (globalThis.reportError ?? console.error)(error);
      }
    }
  }
}

// A bounded set of ids, against repeats.
export class Known {
  ids = new Set();

  // False if it is known.
  note(id) {
    if (this.ids.has(id)) return false;
    this.ids.add(id);
    if (this.ids.size > KNOWN_MAX) this.ids.delete(this.ids.values().next().value);
    return true;
  }
}

export const withData = (message) => {
  message.event ??= "message";
  if ("content" in message) message.data = message.content;
  return message;
};
