//! LDK's onion messages and offers: an OnionMessenger, and a ChannelManager behind it that has no channels and no chain.
//!
//! What is opened, passed on, dropped, asked and answered LDK decides. Ways are the test's: it says over whom a message
//! goes, and where the paths begin that LDK makes.
//!
//!   --onion TYPES      with this, and for messages of its user's own of these types, as in 77,1001
//!
//! Commands:
//!   {"cmd":"ways","introduction":"02..","channel":7,"compact":true,"via":"03..","dummy_hops":3,"hold":true,
//!       "unpaid":true}: what is not named is as at the start: paths begin at itself, the introduction finds it by its node
//!       id and not by a channel, and is itself named so and not by one that --graph has; what is not for a peer goes over
//!       any peer, invoice requests are answered at once, and there are ways to be paid
//!   {"cmd":"offer","direct":true,"amount_msat":1000,"quantity":5,"expiry":1,"issuer":"text"} has "offer" in its reply;
//!       direct: without a path
//!   {"cmd":"pay","offer":"lno1..","amount_msat":1000,"quantity":2,"note":"text"}; "error" in its reply if it does not fit
//!   {"cmd":"onion","node_id":"02..","type":77,"payload":"hex","reply":true}; or "path":"hex" for a blinded path
//!   {"cmd":"answer","type":77,"payload":"hex"}: by the way back of the latest message that has one; once
//!   {"cmd":"secret"} has "secret", the node's, in its reply: for a test that signs in its name
//! Events: onion (type, payload, context, reply), offers (what came as kind and hex, reply, and LDK's answer as kind and
//! hex), invoice (hex: of an offer that it pays, verified), failed (why: the end of a payment).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lightning::bitcoin::secp256k1::{PublicKey, Secp256k1, Signing, Verification};
use lightning::bitcoin::{Network, Script, Transaction, Txid};
use lightning::blinded_path::message::{BlindedMessagePath, MessageContext, MessageForwardNode, OffersContext};
use lightning::blinded_path::payment::{BlindedPaymentPath, ReceiveTlvs};
use lightning::blinded_path::IntroductionNode;
use lightning::chain::chaininterface::{BroadcasterInterface, ConfirmationTarget, FeeEstimator};
use lightning::chain::chainmonitor::{ChainMonitor, Persist};
use lightning::chain::channelmonitor::{ChannelMonitor, ChannelMonitorUpdate};
use lightning::chain::{BestBlock, ChannelMonitorUpdateStatus, Filter, WatchedOutput};
use lightning::events::{Event, EventsProvider};
use lightning::io::{Error, Read};
use lightning::ln::channel_state::ChannelDetails;
use lightning::ln::channelmanager::{ChainParameters, ChannelManager, OptionalOfferPaymentParams, PaymentId};
use lightning::ln::msgs::{DecodeError, OnionMessageHandler};
use lightning::ln::peer_handler::IgnoringMessageHandler;
use lightning::offers::offer::{Offer, Quantity};
use lightning::onion_message::messenger::{
	CustomOnionMessageHandler, Destination, MessageRouter, MessageSendInstructions, NullMessageRouter, OnionMessagePath,
	OnionMessenger, Responder, ResponseInstruction,
};
use lightning::onion_message::offers::{OffersMessage, OffersMessageHandler};
use lightning::onion_message::packet::OnionMessageContents;
use lightning::routing::router::{InFlightHtlcs, Route, RouteParameters, Router};
use lightning::sign::{InMemorySigner, KeysManager, NodeSigner, ReceiveAuthKey};
use lightning::util::config::UserConfig;
use lightning::util::persist::MonitorName;
use lightning::util::ser::{LengthReadable, Writeable, Writer};
use serde_json::{json, Value};

use crate::gossip::Graph;
use crate::{emit, from_hex, to_hex, Quiet};

/// A chain on which nothing happens, and a disk that keeps nothing.
pub struct Nothing;

impl BroadcasterInterface for Nothing {
	fn broadcast_transactions(&self, _: &[&Transaction]) {}
}

impl FeeEstimator for Nothing {
	fn get_est_sat_per_1000_weight(&self, _: ConfirmationTarget) -> u32 {
		253
	}
}

impl Filter for Nothing {
	fn register_tx(&self, _: &Txid, _: &Script) {}
	fn register_output(&self, _: WatchedOutput) {}
}

impl Persist<InMemorySigner> for Nothing {
	fn persist_new_channel(&self, _: MonitorName, _: &ChannelMonitor<InMemorySigner>) -> ChannelMonitorUpdateStatus {
		ChannelMonitorUpdateStatus::Completed
	}
	fn update_persisted_channel(
		&self, _: MonitorName, _: Option<&ChannelMonitorUpdate>, _: &ChannelMonitor<InMemorySigner>,
	) -> ChannelMonitorUpdateStatus {
		ChannelMonitorUpdateStatus::Completed
	}
	fn archive_persisted_channel(&self, _: MonitorName) {}
}

#[derive(Clone, Default)]
struct Told {
	introduction: Option<PublicKey>,
	channel: Option<u64>,
	compact: bool,
	via: Option<PublicKey>,
	dummy_hops: usize,
	hold: bool,
	unpaid: bool,
}

/// The ways that a test has told it.
pub struct Ways {
	keys: Arc<KeysManager>,
	graph: Mutex<Option<Arc<Graph>>>,
	told: Mutex<Told>,
}

impl Router for Ways {
	fn find_route(
		&self, _: &PublicKey, _: &RouteParameters, _: Option<&[&ChannelDetails]>, _: InFlightHtlcs,
	) -> Result<Route, &'static str> {
		Err("no channels")
	}
	fn create_blinded_payment_paths<T: Signing + Verification>(
		&self, recipient: PublicKey, _: Vec<ChannelDetails>, tlvs: ReceiveTlvs, _: Option<u64>, context: &Secp256k1<T>,
	) -> Result<Vec<BlindedPaymentPath>, ()> {
		if self.told.lock().unwrap().unpaid {
			return Err(());
		}
		Ok(vec![BlindedPaymentPath::one_hop(recipient, tlvs, 18, &*self.keys, context)?])
	}
}

impl MessageRouter for Ways {
	fn find_path(
		&self, sender: PublicKey, peers: Vec<PublicKey>, destination: Destination,
	) -> Result<OnionMessagePath, ()> {
		let first = match &destination {
			Destination::Node(node) => *node,
			Destination::BlindedPath(path) => match path.introduction_node() {
				IntroductionNode::NodeId(node) => *node,
				IntroductionNode::DirectedShortChannelId(..) => return Err(()),
			},
		};
		let intermediate_nodes = match self.told.lock().unwrap().via {
			_ if first == sender => Vec::new(),
			Some(via) if via != first => vec![via],
			_ if peers.contains(&first) => Vec::new(),
			_ => peers.into_iter().take(1).collect(),
		};
		Ok(OnionMessagePath { intermediate_nodes, destination, first_node_addresses: Vec::new() })
	}
	fn create_blinded_paths<T: Signing + Verification>(
		&self, recipient: PublicKey, key: ReceiveAuthKey, context: MessageContext, _: Vec<MessageForwardNode>,
		secp: &Secp256k1<T>,
	) -> Result<Vec<BlindedMessagePath>, ()> {
		let told = self.told.lock().unwrap().clone();
		let before: Vec<_> = told
			.introduction
			.iter()
			.map(|node| MessageForwardNode { node_id: *node, short_channel_id: told.channel })
			.collect();
		let mut made = BlindedMessagePath::new_with_dummy_hops(
			&before, recipient, told.dummy_hops, key, context, &*self.keys, secp,
		);
		if told.compact {
			made.use_compact_introduction_node(&self.graph.lock().unwrap().as_ref().expect("--graph").read_only());
		}
		Ok(vec![made])
	}
}

/// A record as it is.
#[derive(Clone, Debug)]
struct Own {
	tlv_type: u64,
	payload: Vec<u8>,
}

impl Writeable for Own {
	fn write<W: Writer>(&self, writer: &mut W) -> Result<(), Error> {
		writer.write_all(&self.payload)
	}
}

impl OnionMessageContents for Own {
	fn tlv_type(&self) -> u64 {
		self.tlv_type
	}
	fn msg_type(&self) -> &'static str {
		"its user's"
	}
}

/// The way back of the latest message that has one.
type Held = Arc<Mutex<Option<Responder>>>;

struct Owns {
	types: Vec<u64>,
	held: Held,
}

impl CustomOnionMessageHandler for Owns {
	type CustomMessage = Own;
	fn handle_custom_message(
		&self, message: Own, context: Option<Vec<u8>>, responder: Option<Responder>,
	) -> Option<(Own, ResponseInstruction)> {
		emit(json!({
			"event": "onion",
			"type": message.tlv_type,
			"payload": to_hex(&message.payload),
			"context": context.map(|bytes| to_hex(&bytes)),
			"reply": responder.is_some(),
		}));
		if responder.is_some() {
			*self.held.lock().unwrap() = responder;
		}
		None
	}
	fn read_custom_message<R: Read>(&self, tlv_type: u64, buffer: &mut R) -> Result<Option<Own>, DecodeError> {
		if !self.types.contains(&tlv_type) {
			return Ok(None);
		}
		let (mut payload, mut part) = (Vec::new(), [0; 1024]);
		loop {
			match buffer.read(&mut part)? {
				0 => return Ok(Some(Own { tlv_type, payload })),
				read => payload.extend_from_slice(&part[..read]),
			}
		}
	}
	fn release_pending_custom_messages(&self) -> Vec<(Own, MessageSendInstructions)> {
		Vec::new()
	}
}

type Monitor = ChainMonitor<
	InMemorySigner,
	Arc<Nothing>,
	Arc<Nothing>,
	Arc<Nothing>,
	Arc<Quiet>,
	Arc<Nothing>,
	Arc<KeysManager>,
>;
pub type Channels = ChannelManager<
	Arc<Monitor>,
	Arc<Nothing>,
	Arc<KeysManager>,
	Arc<KeysManager>,
	Arc<KeysManager>,
	Arc<Nothing>,
	Arc<Ways>,
	Arc<Ways>,
	Arc<Quiet>,
>;

/// A ChannelManager without channels, for what wants one.
pub fn channels(keys: &Arc<KeysManager>, ways: &Arc<Ways>, now: Duration) -> Arc<Channels> {
	let (nothing, quiet) = (Arc::new(Nothing), Arc::new(Quiet));
	let monitor = ChainMonitor::new(
		None,
		Arc::clone(&nothing),
		Arc::clone(&quiet),
		Arc::clone(&nothing),
		Arc::clone(&nothing),
		Arc::clone(keys),
		keys.get_peer_storage_key(),
	);
	let config = UserConfig { manually_handle_bolt12_invoices: true, ..UserConfig::default() };
	let best_block = BestBlock::from_network(Network::Bitcoin);
	Arc::new(ChannelManager::new(
		Arc::clone(&nothing),
		Arc::new(monitor),
		nothing,
		Arc::clone(ways),
		Arc::clone(ways),
		quiet,
		Arc::clone(keys),
		Arc::clone(keys),
		Arc::clone(keys),
		config,
		ChainParameters { network: Network::Bitcoin, best_block },
		now.as_secs() as u32,
	))
}

/// LDK's own handler of offers, and what goes in and out of it.
struct Offers {
	channels: Arc<Channels>,
	ways: Arc<Ways>,
	held: Held,
}

fn shown(message: &OffersMessage) -> Value {
	match message {
		OffersMessage::InvoiceRequest(it) => json!({"kind": "invoice_request", "hex": to_hex(&it.encode())}),
		OffersMessage::Invoice(it) => json!({"kind": "invoice", "hex": to_hex(&it.encode())}),
		OffersMessage::StaticInvoice(it) => json!({"kind": "static_invoice", "hex": to_hex(&it.encode())}),
		OffersMessage::InvoiceError(it) => json!({"kind": "invoice_error", "hex": to_hex(&it.encode())}),
	}
}

impl OffersMessageHandler for Offers {
	fn handle_message(
		&self, message: OffersMessage, context: Option<OffersContext>, responder: Option<Responder>,
	) -> Option<(OffersMessage, ResponseInstruction)> {
		let mut event = shown(&message);
		event["event"] = json!("offers");
		event["reply"] = json!(responder.is_some());
		let holds = self.ways.told.lock().unwrap().hold && matches!(message, OffersMessage::InvoiceRequest(_));
		if responder.is_some() {
			*self.held.lock().unwrap() = responder.clone();
		}
		let answer = self.channels.handle_message(message, context, responder);
		event["answer"] = answer.as_ref().map_or(Value::Null, |(answer, _)| shown(answer));
		emit(event);
		self.channels.process_pending_events(&|event: Event| {
			match event {
				Event::InvoiceReceived { invoice, .. } => {
					emit(json!({"event": "invoice", "hex": to_hex(&invoice.encode())}))
				},
				Event::PaymentFailed { reason, .. } => emit(json!({"event": "failed", "why": format!("{:?}", reason)})),
				_ => {},
			}
			Ok(())
		});
		answer.filter(|_| !holds)
	}
	fn release_pending_messages(&self) -> Vec<(OffersMessage, MessageSendInstructions)> {
		self.channels.release_pending_messages()
	}
}

type Messenger = OnionMessenger<
	Arc<KeysManager>,
	Arc<KeysManager>,
	Arc<Quiet>,
	Arc<Channels>,
	Arc<Ways>,
	Arc<Offers>,
	Arc<IgnoringMessageHandler>,
	Arc<IgnoringMessageHandler>,
	Arc<Owns>,
>;

pub struct Onions {
	keys: Arc<KeysManager>,
	ways: Arc<Ways>,
	pub channels: Arc<Channels>,
	messenger: Arc<Messenger>,
	held: Held,
	paid: Mutex<u8>,
}

fn point(command: &Value, name: &str) -> Option<PublicKey> {
	command[name].as_str().map(|text| PublicKey::from_slice(&from_hex(text)).expect("a point"))
}

fn own(command: &Value) -> Own {
	let payload = from_hex(command["payload"].as_str().expect("payload"));
	Own { tlv_type: command["type"].as_u64().expect("type"), payload }
}

impl Onions {
	pub fn new(keys: &Arc<KeysManager>, types: &str, now: Duration) -> Self {
		let types = types.split(',').map(|one| one.parse().expect("a number")).collect();
		let ways = Arc::new(Ways { keys: Arc::clone(keys), graph: Mutex::new(None), told: Mutex::new(Told::default()) });
		let channels = channels(keys, &ways, now);
		let held: Held = Arc::new(Mutex::new(None));
		let offers = Offers { channels: Arc::clone(&channels), ways: Arc::clone(&ways), held: Arc::clone(&held) };
		let ignoring = Arc::new(IgnoringMessageHandler {});
		let messenger = OnionMessenger::new(
			Arc::clone(keys),
			Arc::clone(keys),
			Arc::new(Quiet),
			Arc::clone(&channels),
			Arc::clone(&ways),
			Arc::new(offers),
			Arc::clone(&ignoring),
			ignoring,
			Arc::new(Owns { types, held: Arc::clone(&held) }),
		);
		Self { keys: Arc::clone(keys), ways, channels, messenger: Arc::new(messenger), held, paid: Mutex::new(0) }
	}

	/// By which nodes may be named by their channels.
	pub fn knows(&self, graph: &Arc<Graph>) {
		*self.ways.graph.lock().unwrap() = Some(Arc::clone(graph));
	}

	pub fn handler(&self) -> Arc<dyn OnionMessageHandler + Send + Sync> {
		Arc::clone(&self.messenger) as Arc<dyn OnionMessageHandler + Send + Sync>
	}

	/// Whether the command is one of these; what it puts into the outbox is sent by whoever asks.
	pub fn carry_out(&self, command: &Value, reply: &mut Value) -> bool {
		let failed = match command["cmd"].as_str().expect("cmd") {
			"ways" => {
				*self.ways.told.lock().unwrap() = Told {
					introduction: point(command, "introduction"),
					channel: command["channel"].as_u64(),
					compact: command["compact"] == true,
					via: point(command, "via"),
					dummy_hops: command["dummy_hops"].as_u64().unwrap_or(0) as usize,
					hold: command["hold"] == true,
					unpaid: command["unpaid"] == true,
				};
				None
			},
			"offer" => self.offer(command, reply),
			"pay" => self.pay(command),
			"onion" => self.send(command),
			"answer" => match self.held.lock().unwrap().take() {
				Some(responder) => {
					let sent = self.messenger.handle_onion_message_response(own(command), responder.respond());
					sent.err().map(|error| format!("{:?}", error))
				},
				None => Some("no message with a way back".into()),
			},
			"secret" => {
				reply["secret"] = json!(to_hex(&self.keys.get_node_secret_key().secret_bytes()));
				None
			},
			_ => return false,
		};
		if let Some(why) = failed {
			reply["error"] = json!(why);
		}
		true
	}

	fn offer(&self, command: &Value, reply: &mut Value) -> Option<String> {
		let begun = if command["direct"] == true {
			self.channels.create_offer_builder_using_router(&NullMessageRouter {})
		} else {
			self.channels.create_offer_builder()
		};
		let made = begun.and_then(|mut builder| {
			builder = builder.description("a thing".into());
			if let Some(amount_msat) = command["amount_msat"].as_u64() {
				builder = builder.amount_msats(amount_msat);
			}
			if let Some(quantity) = command["quantity"].as_u64() {
				let most = quantity.try_into().map_or(Quantity::Unbounded, Quantity::Bounded);
				builder = builder.supported_quantity(most);
			}
			if let Some(expiry) = command["expiry"].as_u64() {
				builder = builder.absolute_expiry(Duration::from_secs(expiry));
			}
			if let Some(issuer) = command["issuer"].as_str() {
				builder = builder.issuer(issuer.into());
			}
			builder.build()
		});
		match made {
			Ok(offer) => {
				reply["offer"] = json!(offer.to_string());
				None
			},
			Err(error) => Some(format!("{:?}", error)),
		}
	}

	fn pay(&self, command: &Value) -> Option<String> {
		let offer: Offer = match command["offer"].as_str().expect("offer").parse() {
			Ok(offer) => offer,
			Err(error) => return Some(format!("{:?}", error)),
		};
		let mut paid = self.paid.lock().unwrap();
		*paid += 1;
		let (payment_id, amount_msat) = (PaymentId([*paid; 32]), command["amount_msat"].as_u64());
		let payer_note = command["note"].as_str().map(String::from);
		let options = OptionalOfferPaymentParams { payer_note, ..Default::default() };
		let begun = match command["quantity"].as_u64() {
			Some(quantity) => {
				self.channels.pay_for_offer_with_quantity(&offer, amount_msat, payment_id, options, quantity)
			},
			None => self.channels.pay_for_offer(&offer, amount_msat, payment_id, options),
		};
		begun.err().map(|error| format!("{:?}", error))
	}

	fn send(&self, command: &Value) -> Option<String> {
		let destination = match command["path"].as_str() {
			Some(path) => {
				let raw = from_hex(path);
				Destination::BlindedPath(BlindedMessagePath::read_from_fixed_length_buffer(&mut &raw[..]).expect("a path"))
			},
			None => Destination::Node(point(command, "node_id").expect("node_id")),
		};
		let instructions = if command["reply"] == true {
			MessageSendInstructions::WithReplyPath { destination, context: MessageContext::Custom(b"asked".to_vec()) }
		} else {
			MessageSendInstructions::WithoutReplyPath { destination }
		};
		self.messenger.send_onion_message(own(command), instructions).err().map(|error| format!("{:?}", error))
	}
}
