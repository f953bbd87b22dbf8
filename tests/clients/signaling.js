// A client of WebRTC signaling as the protocol's document describes it: it joins a room, and offers a connection to each peer
// that is there already. Texts go from browser to browser by data channels.

class SignalingClient {
  constructor(url, roomId, peerId, displayName) {
    Object.assign(this, { roomId, peerId, connections: new Map(), heard: [], errors: [] });
    this.mediaState = { audio: true, video: false, screen: false };
    this.socket = new WebSocket(url);
    this.socket.onopen = () => this.send('join-room', { peerId, displayName, mediaState: this.mediaState });
    this.socket.onmessage = ({ data }) => this.receive(JSON.parse(data)).catch((error) => this.errors.push(String(error)));
  }

  send(type, fields) {
    this.socket.send(JSON.stringify({ type, roomId: this.roomId, ...fields, timestamp: Date.now() }));
  }

  signal(type, toPeerId, fields) {
    this.send(type, { fromPeerId: this.peerId, toPeerId, ...fields });
  }

  connection(peerId) {
    if (this.connections.has(peerId)) return this.connections.get(peerId);
    const connection = new RTCPeerConnection({ iceServers: this.iceServers });
    // The browser ends its candidates with null.
    connection.onicecandidate = ({ candidate }) => this.signal('ice-candidate', peerId, { candidate });
    connection.ondatachannel = ({ channel }) => {
      channel.onmessage = ({ data }) => this.heard.push(data);
    };
    this.connections.set(peerId, connection);
    return connection;
  }

  async receive(message) {
    this.last = message;
    switch (message.type) {
      case 'room-joined':
        this.joined = message;
        this.iceServers = message.iceServers.filter(({ urls }) => !String(urls).startsWith('stun:'));
        for (const { peerId } of message.peers) await this.offer(peerId);
        return;
      case 'offer': {
        const connection = this.connection(message.fromPeerId);
        await connection.setRemoteDescription(message.offer);
        await connection.setLocalDescription(await connection.createAnswer());
        this.signal('answer', message.fromPeerId, { answer: connection.localDescription });
        return;
      }
      case 'answer':
        return this.connection(message.fromPeerId).setRemoteDescription(message.answer);
      case 'ice-candidate':
        if (message.candidate) await this.connection(message.fromPeerId).addIceCandidate(message.candidate);
        else this.isComplete = true;
        return;
      case 'peer-joined':
      case 'peer-left':
      case 'media-state-changed':
        this[message.type] = message;
        return;
      default:
        // A client of this document knows no other message.
        this.errors.push(JSON.stringify(message));
    }
  }

  async offer(peerId) {
    const connection = this.connection(peerId);
    const channel = connection.createDataChannel('text');
    channel.onopen = () => channel.send(`hello from ${this.peerId}`);
    await connection.setLocalDescription(await connection.createOffer());
    this.signal('offer', peerId, { offer: connection.localDescription });
  }
}
