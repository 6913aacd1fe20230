// A real WebSocket Lightning client (npm `lnmessage`), and a real WebSocket server (npm `ws`) in front of a TCP port,
// driven by JSON lines.
//
// This file is a harness: it passes commands in and events out, moves bytes, and decides nothing about the protocol. It
// talks to loopback only, and ends when its standard input ends.
//
// Commands (one JSON object a line, each answered by {"event":"reply","id":...}):
//   {"id":1,"cmd":"connect","node_id":"02..","port":9735}          {"id":2,"cmd":"ping"}
//   {"id":3,"cmd":"commando","method":"getinfo","params":["x"]}    {"id":4,"cmd":"disconnect"}
//   {"id":5,"cmd":"bridge","port":9735}, whose reply has the WebSocket's port
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

const commands = {
  async connect({ node_id, port }) {
    const log = (words) => process.stderr.write(words + "\n");
    client = new LnMessage({
      remoteNodePublicKey: node_id,
      wsProtocol: "ws:",
      ip: "127.0.0.1",
      port,
      logger: { error: log },
    });
    client.decryptedMsgs$.subscribe((message) => emit({ event: "message", data: message.toString("hex") }));
    client.connectionStatus$.subscribe((status) => emit({ event: "status", status }));
    const connected = await client.connect(false);
    // Of the library `ws`, beside the handler that lnmessage has put there.
    client.socket.addEventListener("close", ({ code, reason }) => emit({ event: "closed", code, reason }));
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
