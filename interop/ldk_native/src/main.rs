//! A real LDK PeerManager (crates `lightning` and `lightning-net-tokio`), driven by JSON lines.
//!
//! This file is a harness: it passes commands in and events out, counts, and repeats messages when it is told to. It
//! decides nothing about the protocol. It talks to loopback only, on one thread, and ends when its standard input ends.
//!
//!   ldk-node [--seed HEX] [--port N] [--custom-type N]... [--count-type N]... [--ack-type N]
//!            [--quiet yes] [--graph CHAIN_HASH] [--onion TYPES] [--lsps yes]
//!
//! Commands (one JSON object a line, each answered by {"event":"reply","id":...}):
//!   {"id":1,"cmd":"connect","node_id":"02..","port":9735}     {"id":2,"cmd":"tick"}            {"id":3,"cmd":"peers"}
//!   {"id":4,"cmd":"custom","node_id":"02..","type":43001,"payload":"hex","count":1}            {"id":5,"cmd":"quit"}
//!   {"id":6,"cmd":"disconnect","node_id":"02.."}              {"id":7,"cmd":"disconnect_all"}
//!   {"id":8,"cmd":"counts"}     {"id":9,"cmd":"flood","node_id":"02..","type":258,"payload":"hex","count":1000}
//!   {"id":10,"cmd":"graph"}
//! Events: ready, peer_connected, peer_disconnected, custom, socket_closed, flooded.
//!
//! Messages of a --custom-type are events; those of a --count-type are counted, as channel_updates are. With --ack-type
//! the one that sends a flood waits while WINDOW messages are unacknowledged, and the one that counts acknowledges every
//! ACK_EVERY-th with an empty message of that type: LDK has no backpressure of its own for what is sent to it.
//! With --graph gossip goes to a P2PGossipSync of LDK's, and nothing of it is counted. With --onion there are commands and
//! events more, which stand in onion.rs; with --lsps those of lsps.rs.

mod gossip;
mod lsps;
mod onion;

use std::collections::HashSet;
use std::io::{BufRead, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use lightning::bitcoin::secp256k1::PublicKey;
use lightning::ln::msgs::{self, BaseMessageHandler, DecodeError, Init, LightningError, MessageSendEvent};
use lightning::ln::msgs::{OnionMessageHandler, RoutingMessageHandler};
use lightning::ln::peer_handler::{
	CustomMessageHandler, ErroringMessageHandler, IgnoringMessageHandler, MessageHandler, PeerManager,
};
use lightning::ln::wire::{CustomMessageReader, Type};
use lightning::routing::gossip::NodeId;
use lightning::sign::{KeysManager, NodeSigner, Recipient};
use lightning::types::features::{InitFeatures, NodeFeatures};
use lightning::util::logger::{Logger, Record};
use lightning::util::ser::{LengthLimitedRead, Writeable, Writer};
use lightning_net_tokio::SocketDescriptor;
use serde_json::{json, Value};
use tokio::sync::{mpsc, Notify};

const ACK_EVERY: u64 = 256;
const WINDOW: u64 = 2048;
const REFILL: u64 = 64;

fn emit(event: Value) {
	let mut out = std::io::stdout().lock();
	writeln!(out, "{}", event).expect("standard output");
	out.flush().expect("standard output");
}

/// Whether peers come and go without an event: for whoever does not read them.
static QUIET: AtomicBool = AtomicBool::new(false);

fn tell(event: Value) {
	if !QUIET.load(Relaxed) {
		emit(event);
	}
}

fn to_hex(bytes: &[u8]) -> String {
	bytes.iter().map(|byte| format!("{:02x}", byte)).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
	(0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex")).collect()
}

fn node_id(command: &Value) -> PublicKey {
	PublicKey::from_slice(&from_hex(command["node_id"].as_str().expect("node_id"))).expect("a point")
}

struct Quiet;

impl Logger for Quiet {
	fn log(&self, _record: Record) {}
}

#[derive(Clone, Debug)]
struct Raw {
	type_id: u16,
	payload: Arc<Vec<u8>>,
}

impl Type for Raw {
	fn type_id(&self) -> u16 {
		self.type_id
	}
}

impl Writeable for Raw {
	fn write<W: Writer>(&self, writer: &mut W) -> Result<(), lightning::io::Error> {
		writer.write_all(&self.payload)
	}
}

struct Handler {
	custom_types: HashSet<u16>,
	count_types: HashSet<u16>,
	ack_type: Option<u16>,
	pending: Mutex<Vec<(PublicKey, Raw)>>,
	counted: AtomicU64,
	counted_bytes: AtomicU64,
	acknowledged: AtomicU64,
	progress: Notify,
	lsps: Option<lsps::Lsps>,
}

impl Handler {
	fn push(&self, to: PublicKey, message: Raw) {
		self.pending.lock().unwrap().push((to, message));
	}

	fn count(&self, from: Option<PublicKey>, bytes: usize) {
		let counted = self.counted.fetch_add(1, Relaxed) + 1;
		self.counted_bytes.fetch_add(bytes as u64, Relaxed);
		if let (Some(ack_type), Some(from), 0) = (self.ack_type, from, counted % ACK_EVERY) {
			self.push(from, Raw { type_id: ack_type, payload: Arc::new(Vec::new()) });
		}
	}
}

impl CustomMessageReader for Handler {
	type CustomMessage = Raw;
	fn read<R: LengthLimitedRead>(&self, type_id: u16, buffer: &mut R) -> Result<Option<Raw>, DecodeError> {
		if let (Some(lsps), lsps::MESSAGE_TYPE) = (&self.lsps, type_id) {
			return Ok(lsps.read(buffer)?.map(|payload| Raw { type_id, payload: Arc::new(payload) }));
		}
		let known = self.custom_types.contains(&type_id) || self.count_types.contains(&type_id);
		if !known && self.ack_type != Some(type_id) {
			return Ok(None);
		}
		let mut payload = vec![0; buffer.remaining_bytes() as usize];
		buffer.read_exact(&mut payload)?;
		Ok(Some(Raw { type_id, payload: Arc::new(payload) }))
	}
}

impl CustomMessageHandler for Handler {
	fn handle_custom_message(&self, message: Raw, from: PublicKey) -> Result<(), LightningError> {
		if let (Some(lsps), lsps::MESSAGE_TYPE) = (&self.lsps, message.type_id) {
			return lsps.handle(&message.payload, from);
		}
		if self.ack_type == Some(message.type_id) {
			self.acknowledged.fetch_add(ACK_EVERY, Relaxed);
			self.progress.notify_one();
		} else if self.count_types.contains(&message.type_id) {
			self.count(Some(from), message.payload.len() + 2);
		} else {
			let (from, payload) = (to_hex(&from.serialize()), to_hex(&message.payload));
			emit(json!({"event": "custom", "node_id": from, "type": message.type_id, "payload": payload}));
		}
		Ok(())
	}
	fn get_and_clear_pending_msg(&self) -> Vec<(PublicKey, Raw)> {
		let mut found = std::mem::take(&mut *self.pending.lock().unwrap());
		if let Some(lsps) = &self.lsps {
			let raw = |payload| Raw { type_id: lsps::MESSAGE_TYPE, payload: Arc::new(payload) };
			found.extend(lsps.pending().into_iter().map(|(to, payload)| (to, raw(payload))));
		}
		found
	}
	fn peer_disconnected(&self, them: PublicKey) {
		self.lsps.iter().for_each(|lsps| lsps.disconnected(them));
		tell(json!({"event": "peer_disconnected", "node_id": to_hex(&them.serialize())}));
		self.progress.notify_one();
	}
	fn peer_connected(&self, them: PublicKey, init: &Init, inbound: bool) -> Result<(), ()> {
		tell(json!({"event": "peer_connected", "node_id": to_hex(&them.serialize()), "inbound": inbound}));
		self.lsps.as_ref().map_or(Ok(()), |lsps| lsps.connected(them, init, inbound))
	}
	fn provided_node_features(&self) -> NodeFeatures {
		self.lsps.as_ref().map_or(NodeFeatures::empty(), |lsps| lsps.node_features())
	}
	fn provided_init_features(&self, them: PublicKey) -> InitFeatures {
		self.lsps.as_ref().map_or(InitFeatures::empty(), |lsps| lsps.init_features(them))
	}
}

/// Counts channel_updates, and does nothing else with gossip.
struct Counting(Arc<Handler>);

impl BaseMessageHandler for Counting {
	fn get_and_clear_pending_msg_events(&self) -> Vec<MessageSendEvent> {
		Vec::new()
	}
	fn peer_disconnected(&self, _them: PublicKey) {}
	fn peer_connected(&self, _them: PublicKey, _init: &Init, _inbound: bool) -> Result<(), ()> {
		Ok(())
	}
	fn provided_node_features(&self) -> NodeFeatures {
		NodeFeatures::empty()
	}
	fn provided_init_features(&self, _them: PublicKey) -> InitFeatures {
		InitFeatures::empty()
	}
}

impl RoutingMessageHandler for Counting {
	fn handle_node_announcement(
		&self, _: Option<PublicKey>, _: &msgs::NodeAnnouncement,
	) -> Result<bool, LightningError> {
		Ok(false)
	}
	fn handle_channel_announcement(
		&self, _: Option<PublicKey>, _: &msgs::ChannelAnnouncement,
	) -> Result<bool, LightningError> {
		Ok(false)
	}
	fn handle_channel_update(&self, from: Option<PublicKey>, _: &msgs::ChannelUpdate) -> Result<bool, LightningError> {
		self.0.count(from, 138);
		Ok(false)
	}
	fn get_next_channel_announcement(
		&self, _: u64,
	) -> Option<(msgs::ChannelAnnouncement, Option<msgs::ChannelUpdate>, Option<msgs::ChannelUpdate>)> {
		None
	}
	fn get_next_node_announcement(&self, _: Option<&NodeId>) -> Option<msgs::NodeAnnouncement> {
		None
	}
	fn handle_reply_channel_range(&self, _: PublicKey, _: msgs::ReplyChannelRange) -> Result<(), LightningError> {
		Ok(())
	}
	fn handle_reply_short_channel_ids_end(
		&self, _: PublicKey, _: msgs::ReplyShortChannelIdsEnd,
	) -> Result<(), LightningError> {
		Ok(())
	}
	fn handle_query_channel_range(&self, _: PublicKey, _: msgs::QueryChannelRange) -> Result<(), LightningError> {
		Ok(())
	}
	fn handle_query_short_channel_ids(
		&self, _: PublicKey, _: msgs::QueryShortChannelIds,
	) -> Result<(), LightningError> {
		Ok(())
	}
	fn processing_queue_high(&self) -> bool {
		false
	}
}

type Manager = PeerManager<
	SocketDescriptor,
	Arc<ErroringMessageHandler>,
	Arc<dyn RoutingMessageHandler + Send + Sync>,
	Arc<dyn OnionMessageHandler + Send + Sync>,
	Arc<Quiet>,
	Arc<Handler>,
	Arc<KeysManager>,
	Arc<IgnoringMessageHandler>,
>;

/// Seconds of CPU of this process, and its resident bytes.
fn usage() -> (f64, u64) {
	let mut found: libc::rusage = unsafe { std::mem::zeroed() };
	unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut found) };
	let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
	let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
	let resident: u64 = pages.split(' ').nth(1).and_then(|one| one.parse().ok()).unwrap_or(0);
	(seconds(found.ru_utime) + seconds(found.ru_stime), resident * 4096)
}

async fn flood(manager: Arc<Manager>, handler: Arc<Handler>, to: PublicKey, message: Raw, count: u64) {
	let before = handler.acknowledged.load(Relaxed);
	let (mut sent, began, cpu) = (0, std::time::Instant::now(), usage().0);
	while sent < count {
		let acknowledged = handler.acknowledged.load(Relaxed) - before;
		if handler.ack_type.is_some() && sent + REFILL > acknowledged + WINDOW {
			if manager.peer_by_node_id(&to).is_none() {
				break;
			}
			handler.progress.notified().await;
			continue;
		}
		for _ in 0..REFILL.min(count - sent) {
			handler.push(to, message.clone());
			sent += 1;
		}
		manager.process_events();
		tokio::task::yield_now().await;
	}
	let seconds = began.elapsed().as_secs_f64();
	emit(json!({"event": "flooded", "count": sent, "seconds": seconds, "cpu": usage().0 - cpu}));
}

async fn run() {
	let (mut seed, mut port, mut ack_type, mut graph, mut onion_types) = ([0; 32], 0, None, None, None);
	let (mut custom_types, mut count_types, mut with_lsps) = (HashSet::new(), HashSet::new(), false);
	let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
	let mut random = std::fs::File::open("/dev/urandom").expect("randomness");
	std::io::Read::read_exact(&mut random, &mut seed).expect("randomness");
	let mut ephemeral = [0; 32];
	std::io::Read::read_exact(&mut random, &mut ephemeral).expect("randomness");
	let mut arguments = std::env::args().skip(1);
	while let Some(name) = arguments.next() {
		let value = arguments.next().expect("a value for each option");
		let number = || value.parse().expect("a number");
		match name.as_str() {
			"--seed" => seed.copy_from_slice(&from_hex(&value)),
			"--port" => port = number(),
			"--custom-type" => drop(custom_types.insert(number())),
			"--count-type" => drop(count_types.insert(number())),
			"--ack-type" => ack_type = Some(number()),
			"--graph" => graph = Some(gossip::graph_of(&from_hex(&value))),
			"--onion" => onion_types = Some(value),
			"--lsps" => with_lsps = value == "yes",
			"--quiet" => QUIET.store(value == "yes", Relaxed),
			_ => panic!("unknown option {}", name),
		}
	}
	let keys = Arc::new(KeysManager::new(&seed, now.as_secs(), now.subsec_nanos(), true));
	let onions = onion_types.map(|types| onion::Onions::new(&keys, &types, now));
	let lsps = with_lsps.then(|| lsps::Lsps::new(&keys, &onions.as_ref().expect("--onion").channels));
	let handler = Arc::new(Handler {
		custom_types,
		count_types,
		ack_type,
		pending: Mutex::new(Vec::new()),
		counted: AtomicU64::new(0),
		counted_bytes: AtomicU64::new(0),
		acknowledged: AtomicU64::new(0),
		progress: Notify::new(),
		lsps,
	});
	let ignoring = Arc::new(IgnoringMessageHandler {});
	let onion_message_handler: Arc<dyn OnionMessageHandler + Send + Sync> = match &onions {
		Some(onions) => onions.handler(),
		None => Arc::clone(&ignoring) as Arc<dyn OnionMessageHandler + Send + Sync>,
	};
	if let (Some(onions), Some(graph)) = (&onions, &graph) {
		onions.knows(graph);
	}
	let route_handler: Arc<dyn RoutingMessageHandler + Send + Sync> = match &graph {
		Some(graph) => gossip::sync_of(Arc::clone(graph)),
		None => Arc::new(Counting(Arc::clone(&handler))),
	};
	let handlers = MessageHandler {
		chan_handler: Arc::new(ErroringMessageHandler::new()),
		route_handler,
		onion_message_handler,
		custom_message_handler: Arc::clone(&handler),
		send_only_message_handler: ignoring,
	};
	let our_id = keys.get_node_id(Recipient::Node).expect("our node id");
	let manager: Arc<Manager> =
		Arc::new(PeerManager::new(handlers, now.as_secs() as u32, &ephemeral, Arc::new(Quiet), keys));

	let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("a port");
	let port = listener.local_addr().expect("its port").port();
	let accepting = Arc::clone(&manager);
	tokio::spawn(async move {
		while let Ok((stream, _)) = listener.accept().await {
			let stream = stream.into_std().expect("a stream");
			let closed = lightning_net_tokio::setup_inbound(Arc::clone(&accepting), stream);
			tokio::spawn(async move {
				closed.await;
				tell(json!({"event": "socket_closed"}));
			});
		}
	});

	let (commands_in, mut commands) = mpsc::unbounded_channel::<Value>();
	std::thread::spawn(move || {
		for line in std::io::stdin().lock().lines() {
			let Ok(line) = line else { break };
			if commands_in.send(serde_json::from_str(&line).expect("JSON")).is_err() {
				break;
			}
		}
	});
	emit(json!({"event": "ready", "node_id": to_hex(&our_id.serialize()), "port": port}));

	while let Some(command) = commands.recv().await {
		let mut reply = json!({"event": "reply", "id": command["id"]});
		let raw = || Raw {
			type_id: command["type"].as_u64().expect("type") as u16,
			payload: Arc::new(from_hex(command["payload"].as_str().expect("payload"))),
		};
		let count = command["count"].as_u64().unwrap_or(1);
		match command["cmd"].as_str().expect("cmd") {
			"connect" => {
				let port = command["port"].as_u64().expect("port") as u16;
				let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
				let (manager, them) = (Arc::clone(&manager), node_id(&command));
				tokio::spawn(async move {
					if let Some(closed) = lightning_net_tokio::connect_outbound(manager, them, address).await {
						closed.await;
					}
					tell(json!({"event": "socket_closed"}));
				});
			},
			"tick" => {
				manager.timer_tick_occurred();
				manager.process_events();
			},
			"peers" => {
				let peers: Vec<Value> = manager
					.list_peers()
					.iter()
					.map(|peer| {
						json!({
							"node_id": to_hex(&peer.counterparty_node_id.serialize()),
							"inbound": peer.is_inbound_connection,
							"features": to_hex(&peer.init_features.encode()),
						})
					})
					.collect();
				reply["peers"] = json!(peers);
			},
			"custom" => {
				let message = raw();
				for _ in 0..count {
					handler.push(node_id(&command), message.clone());
				}
				manager.process_events();
			},
			"flood" => {
				let (manager, handler) = (Arc::clone(&manager), Arc::clone(&handler));
				tokio::spawn(flood(manager, handler, node_id(&command), raw(), count));
			},
			"disconnect" => {
				manager.disconnect_by_node_id(node_id(&command));
				manager.process_events();
			},
			"disconnect_all" => {
				manager.disconnect_all_peers();
				manager.process_events();
			},
			"counts" => {
				let (cpu, resident) = usage();
				reply["messages"] = json!(handler.counted.load(Relaxed));
				reply["bytes"] = json!(handler.counted_bytes.load(Relaxed));
				reply["cpu"] = json!(cpu);
				reply["resident"] = json!(resident);
			},
			"graph" => {
				let (channels, nodes) = gossip::shown(graph.as_ref().expect("--graph"));
				reply["channels"] = json!(channels);
				reply["nodes"] = json!(nodes);
			},
			"quit" => break,
			other => {
				let known = onions.as_ref().is_some_and(|onions| onions.carry_out(&command, &mut reply))
					|| handler.lsps.as_ref().is_some_and(|lsps| lsps.carry_out(&command, &mut reply));
				assert!(known, "unknown command {}", other);
				manager.process_events();
			},
		}
		emit(reply);
	}
}

fn main() {
	tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(run());
}
