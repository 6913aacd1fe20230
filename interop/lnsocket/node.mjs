// A real Lightning client that only dials (npm `lnsocket`: Core Lightning's BOLT 8 in C, compiled to WebAssembly), driven
// by JSON lines.
//
// This file is a harness: it passes commands in and events out. The package answers no pings, so that is done here. It
// talks to loopback only, and ends when its standard input ends.
//
// Commands (one JSON object a line, each answered by {"event":"reply","id":...}); those for a connection take its number
// as "connection", the latest one otherwise:
//   {"id":1,"cmd":"connect","node_id":"02..","port":9735}, with "secret" or without; the reply has "error" if it failed
//   {"id":2,"cmd":"ping_pong"}, its own ping, whose reply has what came next
//   {"id":3,"cmd":"rpc","method":"getinfo","params":["x"]}, its commando, whose event is "answer"
//   {"id":4,"cmd":"follow"}: from here on this file reads, and the two above, which read themselves, are over
//   {"id":5,"cmd":"send","message":"001200010000"}
//   {"id":6,"cmd":"send_many","message":"a967","count":2000}: each with its number behind it, in 4 bytes
//   {"id":7,"cmd":"disconnect"}    {"id":8,"cmd":"open"}, whose reply has the numbers of open connections
// Events: ready, message (of a connection that is followed: all but pings), answer, closed, fatal.

import readline from "node:readline";
import LNSocket from "lnsocket";

// Where there is a WebSocket (Node.js 22 has one), it takes itself for a browser's and dials no TCP.
delete globalThis.WebSocket;

const PING = 18;
const PONG = 19;
const LARGEST_PONG = 65531;

const emit = (event) => process.stdout.write(JSON.stringify(event) + "\n");
const fatal = (error) => {
  emit({ event: "fatal", error: String(error && error.stack ? error.stack : error) });
  process.exit(1);
};
process.on("uncaughtException", fatal);
process.on("unhandledRejection", fatal);

const connections = [];

// Not its `write`: that hands over a view of the one buffer that the next message is encrypted into, and what has not
// left by then leaves as something else.
const send = (ln, message) => ln.ws.send(Buffer.from(ln.encrypt(message)));

async function follow(connection, ln) {
  try {
    for (;;) {
      const message = Buffer.from(await ln.read());
      if (message.readUInt16BE(0) !== PING) {
        emit({ event: "message", connection, hex: message.toString("hex") });
        continue;
      }
      const size = message.readUInt16BE(2);
      if (size <= LARGEST_PONG) {
        const pong = Buffer.alloc(4 + size);
        pong.writeUInt16BE(PONG, 0);
        pong.writeUInt16BE(size, 2);
        send(ln, pong);
      }
    }
  } catch (error) {
    // For a connection that has ended it throws nothing at all: undefined.
    ln.disconnect();
    emit({ event: "closed", connection, error: String(error) });
  }
}

const commands = {
  async connect({ node_id, port, secret }) {
    const ln = await LNSocket();
    if (secret === undefined) ln.genkey();
    else if (!ln.setkey(secret)) throw new Error("it does not take this secret");
    try {
      await ln.connect_and_init(node_id, `127.0.0.1:${port}`);
    } catch (error) {
      return { error: String(error) };
    }
    ln.ws.on("error", () => {}); // a reset; its `read` ends as well
    return { connection: connections.push(ln) - 1 };
  },
  ping_pong: async (ln) => ({ hex: Buffer.from(await ln.ping_pong()).toString("hex") }),
  rpc(ln, { method, params }) {
    ln.rpc({ method, params, rune: "rune" }).then((answer) => emit({ event: "answer", answer }), fatal);
  },
  follow(ln, _, connection) {
    follow(connection, ln);
  },
  send(ln, { message }) {
    send(ln, Buffer.from(message, "hex"));
  },
  send_many(ln, { message, count }) {
    for (let number = 0; number < count; number++) {
      const behind = Buffer.alloc(4);
      behind.writeUInt32BE(number);
      send(ln, Buffer.concat([Buffer.from(message, "hex"), behind]));
    }
  },
  disconnect(ln) {
    ln.disconnect();
  },
  open: () => ({ connections: [...connections.keys()].filter((number) => connections[number].connected) }),
};

const lines = readline.createInterface({ input: process.stdin });
lines.on("line", async (line) => {
  const command = JSON.parse(line);
  const { id, cmd, connection = connections.length - 1 } = command;
  const run = commands[cmd];
  const result = cmd === "connect" ? run(command) : run(connections[connection], command, connection);
  emit({ event: "reply", id, ...((await result) ?? {}) });
});
lines.on("close", () => process.exit(0));
emit({ event: "ready" });
