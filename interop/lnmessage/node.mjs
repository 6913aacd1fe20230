// A real WebSocket Lightning client (npm `lnmessage`), and a real WebSocket server (npm `ws`) in front of a TCP port,
// driven by JSON lines.
//
// This file is a harness: it passes commands in and events out, moves bytes, and decides nothing about the protocol. It
// talks to loopback only, and ends when its standard input ends.
//
// Commands (one JSON object a line, each answered by {"event":"reply","id":...}):
//   {"id":1,"cmd":"connect","node_id":"02..","port":9735}, over WebSocket, with "tcp":true over TCP; with "secret" or without
//   {"id":2,"cmd":"ping"}    {"id":3,"cmd":"commando","method":"getinfo","params":["x"]}    {"id":4,"cmd":"disconnect"}
//   {"id":5,"cmd":"send","message":"001200010000"}
//   {"id":6,"cmd":"send_many","message":"a967","count":2000}: each with its number behind it, in 4 bytes
//   {"id":7,"cmd":"bridge","port":9735}, whose reply has the WebSocket's port
// Events: ready, message (what lnmessage has decrypted), status, closed, answer (of commando), bridge_closed, fatal.

import net from "node:net";
import readline from "node:readline";
import LnMessage from "lnmessage";
import { WebSocketServer, createWebSocketStream } from "ws";

const emit = (event) => process.stdout.write(JSON.stringify(event) + "\n");
const fatal = (error) => {
  emit({ event: "fatal", error: String(error && error.stack ? error.stack : error) });
  process.exit(1);
};
process.on("uncaughtException", fatal);
process.on("unhandledRejection", fatal);

let client = null;

const send = (message) => client.socket.send(client.noise.encryptMessage(message));

const commands = {
  async connect({ node_id, port, tcp, secret }) {
    const tcpSocket = tcp ? new net.Socket() : undefined;
    tcpSocket?.on("close", () => emit({ event: "closed" }));
    client = new LnMessage({
      remoteNodePublicKey: node_id,
      privateKey: secret,
      wsProtocol: "ws:",
      ip: "127.0.0.1",
      port,
      tcpSocket,
      logger: { error: (words) => process.stderr.write(words + "\n") },
    });
    client.decryptedMsgs$.subscribe((message) => emit({ event: "message", data: message.toString("hex") }));
    client.connectionStatus$.subscribe((status) => emit({ event: "status", status }));
    const connected = await client.connect(false);
    // Of the library `ws`, beside the handler that lnmessage has put there.
    if (!tcp) client.socket.addEventListener("close", ({ code, reason }) => emit({ event: "closed", code, reason }));
    return { connected, node_id: client.publicKey };
  },
  ping: () => client._sendPingMessage(),
  websocket_ping({ data }) {
    client.socket.once("pong", (payload) => emit({ event: "websocket_pong", data: payload.toString("hex") }));
    client.socket.ping(Buffer.from(data, "hex"));
  },
  websocket_text: ({ data }) => client.socket.send(data),
  commando({ method, params }) {
    client.commando({ method, params, rune: "rune" }).then((result) => emit({ event: "answer", result }), fatal);
  },
  send: ({ message }) => send(Buffer.from(message, "hex")),
  send_many({ message, count }) {
    for (let number = 0; number < count; number++) {
      const behind = Buffer.alloc(4);
      behind.writeUInt32BE(number);
      send(Buffer.concat([Buffer.from(message, "hex"), behind]));
    }
  },
  disconnect: () => client.disconnect(),
  bridge: ({ port }) =>
    new Promise((listening) => {
      const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: true });
      server.on("listening", () => listening({ port: server.address().port }));
      server.on("connection", (socket) => {
        socket.on("close", (code) => emit({ event: "bridge_closed", code }));
        const inside = createWebSocketStream(socket);
        const outside = net.connect(port, "127.0.0.1");
        for (const stream of [inside, outside]) stream.on("error", () => {});
        inside.pipe(outside);
        outside.pipe(inside);
      });
    }),
};

const lines = readline.createInterface({ input: process.stdin });
lines.on("line", async (line) => {
  const command = JSON.parse(line);
  emit({ event: "reply", id: command.id, ...((await commands[command.cmd](command)) ?? {}) });
});
lines.on("close", () => process.exit(0));
emit({ event: "ready" });
