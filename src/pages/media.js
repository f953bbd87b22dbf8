// The tracks this page sends: microphone, camera and screen.
//
// `LocalMedia` opens and stops devices and says what is on; it knows no peers. A camera that is
// off is released, so that its light goes out; a muted microphone is kept, so that unmuting is
// instant. Without devices or permission everything stays off and the call is receive-only.
//
// Events: "change" after any track or state changed, "problem" {about, text} in words for people.

const CAMERA = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30, max: 30 } };
const SCREEN = { frameRate: { ideal: 15, max: 30 } };

export class LocalMedia extends EventTarget {
  // Live tracks or null.
  audio = null;
  video = null;
  screen = null;

  #turn = Promise.resolve();
  // Chosen devices, by kind.
  #devices = {};

  // The wire's mediaState.
  get state() {
    return { audio: Boolean(this.audio?.enabled), video: Boolean(this.video), screen: Boolean(this.screen) };
  }

  // Switches what is named: {audio, video, screen}, each true or false. One change at a time.
  set(wanted) {
    this.#turn = this.#turn.then(() => this.#apply(wanted));
    return this.#turn;
  }

  // The device of a kind that is in use, or is to be used.
  chosen(kind) {
    return this[kind]?.getSettings().deviceId ?? this.#devices[kind];
  }

  // Takes another device; where one of the kind is on, that goes on until the other is there.
  choose(kind, deviceId) {
    this.#devices[kind] = deviceId;
    this.#turn = this.#turn.then(() => this[kind] && this.#change(kind));
    return this.#turn;
  }

  async #change(kind) {
    const before = this[kind];
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ [kind]: this.#constraints(kind) });
      this.#adoptAll(stream);
      this[kind].enabled = before.enabled;
      before.stop();
      this.#changed();
    } catch (error) {
      this.#refused(deviceName(kind), error);
    }
  }

  #constraints(kind) {
    const own = kind === "video" ? CAMERA : {};
    return this.#devices[kind] ? { ...own, deviceId: { exact: this.#devices[kind] } } : kind === "video" ? CAMERA : true;
  }

  stop() {
    return this.set({ audio: null, video: false, screen: false });
  }

  async #apply({ audio, video, screen }) {
    const before = this.state;
    const missing = { audio: audio === true && !this.audio, video: video === true && !this.video };
    if (missing.audio || missing.video) await this.#openDevices(missing);
    if (typeof audio === "boolean" && this.audio) this.audio.enabled = audio;
    if (audio === null) this.#release("audio");
    if (video === false) this.#release("video");
    if (screen === true && !this.screen) await this.#openScreen();
    if (screen === false) this.#release("screen");
    const after = this.state;
    if (Object.keys(after).some((kind) => after[kind] !== before[kind])) this.#changed();
  }

  // One prompt for both devices; when that fails, each alone, so that a missing camera does not
  // cost the microphone.
  async #openDevices(missing) {
    if (!navigator.mediaDevices) {
      return this.#problem("insecure", "Browsers give camera and microphone to https pages only. You can still watch and listen.");
    }
    try {
      this.#adoptAll(await navigator.mediaDevices.getUserMedia({ audio: missing.audio && this.#constraints("audio"), video: missing.video && this.#constraints("video") }));
    } catch (error) {
      if (!(missing.audio && missing.video)) return this.#refused(missing.audio ? "microphone" : "camera", error);
      const failed = [];
      for (const kind of ["audio", "video"]) {
        try {
          this.#adoptAll(await navigator.mediaDevices.getUserMedia({ [kind]: this.#constraints(kind) }));
        } catch (reason) {
          failed.push(deviceName(kind));
          error = reason;
        }
      }
      if (failed.length) this.#refused(failed.join(" or "), error);
    }
  }

  async #openScreen() {
    try {
      const stream = await navigator.mediaDevices.getDisplayMedia({ video: SCREEN, audio: false });
      const [track] = stream.getVideoTracks();
      track.contentHint = "detail";
      this.#adopt("screen", track);
    } catch (error) {
      // Closing the browser's own chooser is an answer, not a fault.
      if (error.name !== "NotAllowedError") this.#problem("screen", "This browser could not share the screen.");
    }
  }

  #adoptAll(stream) {
    for (const track of stream.getTracks()) this.#adopt(track.kind, track);
  }

  #adopt(kind, track) {
    this[kind] = track;
    track.addEventListener("ended", () => {
      if (this[kind] !== track) return;
      this[kind] = null;
      this.#changed();
      if (kind !== "screen") this.#problem(deviceName(kind), `The ${deviceName(kind)} was disconnected.`);
    });
  }

  #release(kind) {
    this[kind]?.stop();
    this[kind] = null;
  }

  #refused(device, { name }) {
    const text =
      name === "NotAllowedError" ? `The ${device} is blocked; the address bar can allow it. Until then you can watch and listen.`
      : name === "NotFoundError" ? `No ${device} was found. You can still watch and listen.`
      : name === "NotReadableError" ? `Another program is using the ${device}.`
      : `The ${device} could not be started.`;
    this.#problem(device, text);
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }

  #problem(about, text) {
    this.dispatchEvent(new CustomEvent("problem", { detail: { about, text } }));
  }
}

function deviceName(kind) {
  return kind === "audio" ? "microphone" : "camera";
}
