// A real LDK PeerManager (npm `lightningdevkit`, WASM) over node's `net`, driven by JSON lines.
//
// This file is a harness: it may move bytes between sockets and LDK, pass commands in and events out, and nothing else.
// It decides nothing about the protocol. It talks to loopback only, and ends when its standard input ends.
//
//   node node.mjs [--seed HEX] [--port N] [--custom-type N]... [--verbose]
//
// Commands (one JSON object a line, each answered by {"event":"reply","id":...}):
//   {"id":1,"cmd":"connect","node_id":"02..","port":9735}     {"id":2,"cmd":"tick"}            {"id":3,"cmd":"peers"}
//   {"id":4,"cmd":"custom","node_id":"02..","type":43001,"payload":"hex","count":1}            {"id":5,"cmd":"quit"}
//   {"id":6,"cmd":"disconnect","node_id":"02.."}              {"id":7,"cmd":"disconnect_all"}
// Events: ready, peer_connected, peer_disconnected, custom, socket_closed, fatal.

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import net from "node:net";
import { dirname, join } from "node:path";
import readline from "node:readline";
import * as ldk from "lightningdevkit";

const READ_SLICE = 4096; // what LDK advises to feed at once
const options = { seed: null, port: 0, customTypes: new Set(), verbose: false };
for (let at = 2; at < process.argv.length; at++) {
  const name = process.argv[at];
  if (name === "--seed") options.seed = Buffer.from(process.argv[++at], "hex");
  else if (name === "--port") options.port = Number(process.argv[++at]);
  else if (name === "--custom-type") options.customTypes.add(Number(process.argv[++at]));
  else if (name === "--verbose") options.verbose = true;
  else throw new Error(`unknown option ${name}`);
}

const emit = (event) => process.stdout.write(JSON.stringify(event) + "\n");
const fatal = (error) => {
  emit({ event: "fatal", error: String(error && error.stack ? error.stack : error) });
  process.exit(1);
};
process.on("uncaughtException", fatal);
process.on("unhandledRejection", fatal);
const hex = (bytes) => Buffer.from(bytes).toString("hex");

// What LDK holds on to must not be collected while it does: everything that is handed over stays in here.
const kept = [];
const keep = (thing) => (kept.push(thing), thing);

const wasm = join(dirname(createRequire(import.meta.url).resolve("lightningdevkit")), "liblightningjs.wasm");
await ldk.initializeWasmFromBinary(readFileSync(wasm));

// -- handlers ---------------------------------------------------------------------------------------------------------

const pending = [];

function customMessage(type, payload) {
  return ldk.Type.new_impl({
    type_id: () => type,
    debug_str: () => `custom ${type}`,
    write: () => payload,
  });
}

const custom = keep(
  ldk.CustomMessageHandler.new_impl(
    {
      handle_custom_message(message, sender) {
        emit({ event: "custom", node_id: hex(sender), type: message.type_id(), payload: hex(message.write()) });
        return ldk.Result_NoneLightningErrorZ.constructor_ok();
      },
      get_and_clear_pending_msg() {
        return pending.splice(0).map(([to, message]) => ldk.TwoTuple_PublicKeyTypeZ.constructor_new(to, message));
      },
      peer_connected(nodeId, init, inbound) {
        emit({ event: "peer_connected", node_id: hex(nodeId), inbound });
        return ldk.Result_NoneNoneZ.constructor_ok();
      },
      peer_disconnected(nodeId) {
        emit({ event: "peer_disconnected", node_id: hex(nodeId) });
      },
      provided_node_features: () => ldk.NodeFeatures.constructor_empty(),
      provided_init_features: () => ldk.InitFeatures.constructor_empty(),
    },
    {
      read(type, buffer) {
        if (!options.customTypes.has(type)) {
          return ldk.Result_COption_TypeZDecodeErrorZ.constructor_ok(ldk.Option_TypeZ.constructor_none());
        }
        const message = customMessage(type, Uint8Array.from(buffer));
        return ldk.Result_COption_TypeZDecodeErrorZ.constructor_ok(ldk.Option_TypeZ.constructor_some(message));
      },
    },
  ),
);
const logger = keep(
  ldk.Logger.new_impl({ log: (record) => options.verbose && process.stderr.write(record.get_args() + "\n") }),
);
const keys = keep(
  ldk.KeysManager.constructor_new(options.seed ?? randomBytes(32), BigInt(Math.floor(Date.now() / 1000)), 1),
);
const signer = keep(keys.as_NodeSigner());
const erroring = keep(ldk.ErroringMessageHandler.constructor_new());
const ignoring = keep(ldk.IgnoringMessageHandler.constructor_new());
const manager = keep(
  ldk.PeerManager.constructor_new(
    keep(erroring.as_ChannelMessageHandler()),
    keep(ignoring.as_RoutingMessageHandler()),
    keep(ignoring.as_OnionMessageHandler()),
    custom,
    Math.floor(Date.now() / 1000),
    randomBytes(32),
    logger,
    signer,
  ),
);
const nodeId = signer.get_node_id(ldk.Recipient.LDKRecipient_Node).res;

// -- one socket -------------------------------------------------------------------------------------------------------

let count = 0n;

function attach(socket, begin) {
  const number = ++count;
  let blocked = false; // write() has said that its buffer is full: nothing is taken until 'drain'
  let closed = false;
  const descriptor = keep(
    ldk.SocketDescriptor.new_impl({
      send_data(data, resumeRead) {
        if (resumeRead) socket.resume();
        else if (!resumeRead && data.length === 0) socket.pause();
        if (data.length === 0 || blocked || closed) return 0;
        blocked = !socket.write(Uint8Array.from(data));
        return data.length;
      },
      disconnect_socket: () => socket.destroySoon(),
      eq: (other) => other.hash() === number,
      hash: () => number,
    }),
  );
  socket.setNoDelay(true);
  socket.on("drain", () => {
    blocked = false;
    if (!closed && !manager.write_buffer_space_avail(descriptor).is_ok()) socket.destroy();
  });
  socket.on("data", (data) => {
    for (let at = 0; at < data.length && !closed; at += READ_SLICE) {
      const result = manager.read_event(descriptor, data.subarray(at, at + READ_SLICE));
      // Before process_events: what that says about reading is newer.
      if (result.is_ok() && result.res) socket.pause();
      manager.process_events();
      if (!result.is_ok()) {
        socket.destroySoon();
        return;
      }
    }
  });
  socket.on("error", () => {});
  socket.on("end", () => socket.end());
  socket.on("close", () => {
    closed = true;
    manager.socket_disconnected(descriptor);
    manager.process_events();
    emit({ event: "socket_closed" });
  });
  begin(descriptor);
  manager.process_events();
}

const server = net.createServer((socket) =>
  attach(socket, (descriptor) => {
    if (!manager.new_inbound_connection(descriptor, ldk.Option_SocketAddressZ.constructor_none()).is_ok()) {
      socket.destroy();
    }
  }),
);

const commands = {
  connect({ node_id, port }) {
    const socket = net.connect(port, "127.0.0.1", () =>
      attach(socket, (descriptor) => {
        const none = ldk.Option_SocketAddressZ.constructor_none();
        const actOne = manager.new_outbound_connection(Buffer.from(node_id, "hex"), descriptor, none);
        if (actOne.is_ok()) socket.write(Uint8Array.from(actOne.res));
        else socket.destroy();
      }),
    );
  },
  tick() {
    manager.timer_tick_occurred();
    manager.process_events();
  },
  peers: () => ({
    peers: manager.list_peers().map((peer) => ({
      node_id: hex(peer.get_counterparty_node_id()),
      inbound: peer.get_is_inbound_connection(),
      features: hex(peer.get_init_features().write()),
    })),
  }),
  custom({ node_id, type, payload, count = 1 }) {
    for (let sent = 0; sent < count; sent++) {
      pending.push([Buffer.from(node_id, "hex"), keep(customMessage(type, Buffer.from(payload, "hex")))]);
    }
    manager.process_events();
  },
  disconnect({ node_id }) {
    manager.disconnect_by_node_id(Buffer.from(node_id, "hex"));
    manager.process_events();
  },
  disconnect_all() {
    manager.disconnect_all_peers();
    manager.process_events();
  },
  quit: () => setImmediate(() => process.exit(0)),
};

server.listen(options.port, "127.0.0.1", () => emit({ event: "ready", node_id: hex(nodeId), port: server.address().port }));
const lines = readline.createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const command = JSON.parse(line);
  emit({ event: "reply", id: command.id, ...(commands[command.cmd](command) ?? {}) });
});
lines.on("close", () => process.exit(0));
