//! A real LDK ChannelManager that stores for a peer with a channel (BOLT 1's peer storage), behind its own PeerManager.
//!
//! LDK stores only for who has a funded channel with it. So a second ChannelManager opens one here, in memory, funded by
//! a transaction of no chain; then that one goes, and whoever is told its node secret is the peer with the channel.
//! Talks to loopback only, on one thread, and ends when its standard input ends. The first line is
//! {"event":"ready","node_id":...,"port":...,"secret":...}.

use std::io::{BufRead, Write as _};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use lightning::bitcoin::absolute::LockTime;
use lightning::bitcoin::secp256k1::{self, PublicKey, Secp256k1};
use lightning::bitcoin::transaction::Version;
use lightning::bitcoin::{Amount, Network, OutPoint, Script, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness};
use lightning::blinded_path::payment::{BlindedPaymentPath, ReceiveTlvs};
use lightning::chain::chaininterface::{BroadcasterInterface, ConfirmationTarget, FeeEstimator};
use lightning::chain::chainmonitor::{ChainMonitor, Persist};
use lightning::chain::channelmonitor::{ChannelMonitor, ChannelMonitorUpdate};
use lightning::chain::{BestBlock, ChannelMonitorUpdateStatus, Filter, WatchedOutput};
use lightning::events::{Event, EventsProvider, ReplayEvent};
use lightning::ln::channel_state::ChannelDetails;
use lightning::ln::channelmanager::{ChainParameters, ChannelManager};
use lightning::ln::msgs::{BaseMessageHandler, ChannelMessageHandler, Init, MessageSendEvent};
use lightning::ln::peer_handler::{IgnoringMessageHandler, MessageHandler, PeerManager};
use lightning::onion_message::messenger::NullMessageRouter;
use lightning::routing::router::{InFlightHtlcs, Route, RouteParameters, Router};
use lightning::sign::{EntropySource, InMemorySigner, KeysManager, NodeSigner, Recipient};
use lightning::util::config::UserConfig;
use lightning::util::logger::{Logger, Record};
use lightning::util::persist::MonitorName;
use lightning_net_tokio::SocketDescriptor;
use serde_json::json;

const SATOSHIS: u64 = 1_000_000;

/// Whatever a node asks of its surroundings: there is no chain, no disk, no route and no log.
struct Nothing;

impl Logger for Nothing {
	fn log(&self, _: Record) {}
}

impl Filter for Nothing {
	fn register_tx(&self, _: &Txid, _: &Script) {}
	fn register_output(&self, _: WatchedOutput) {}
}

impl BroadcasterInterface for Nothing {
	fn broadcast_transactions(&self, _: &[&Transaction]) {}
}

impl FeeEstimator for Nothing {
	fn get_est_sat_per_1000_weight(&self, _: ConfirmationTarget) -> u32 {
		253
	}
}

impl Persist<InMemorySigner> for Nothing {
	fn persist_new_channel(
		&self, _: MonitorName, _: &ChannelMonitor<InMemorySigner>,
	) -> ChannelMonitorUpdateStatus {
		ChannelMonitorUpdateStatus::Completed
	}
	fn update_persisted_channel(
		&self, _: MonitorName, _: Option<&ChannelMonitorUpdate>, _: &ChannelMonitor<InMemorySigner>,
	) -> ChannelMonitorUpdateStatus {
		ChannelMonitorUpdateStatus::Completed
	}
	fn archive_persisted_channel(&self, _: MonitorName) {}
}

impl Router for Nothing {
	fn find_route(
		&self, _: &PublicKey, _: &RouteParameters, _: Option<&[&ChannelDetails]>, _: InFlightHtlcs,
	) -> Result<Route, &'static str> {
		Err("nothing is paid here")
	}
	fn create_blinded_payment_paths<T: secp256k1::Signing + secp256k1::Verification>(
		&self, _: PublicKey, _: Vec<ChannelDetails>, _: ReceiveTlvs, _: Option<u64>, _: &Secp256k1<T>,
	) -> Result<Vec<BlindedPaymentPath>, ()> {
		Err(())
	}
}

type Monitor = ChainMonitor<
	InMemorySigner,
	Arc<Nothing>,
	Arc<Nothing>,
	Arc<Nothing>,
	Arc<Nothing>,
	Arc<Nothing>,
	Arc<KeysManager>,
>;
type Channels = ChannelManager<
	Arc<Monitor>,
	Arc<Nothing>,
	Arc<KeysManager>,
	Arc<KeysManager>,
	Arc<KeysManager>,
	Arc<Nothing>,
	Arc<Nothing>,
	Arc<NullMessageRouter>,
	Arc<Nothing>,
>;
type Manager = PeerManager<
	SocketDescriptor,
	Arc<Channels>,
	Arc<IgnoringMessageHandler>,
	Arc<IgnoringMessageHandler>,
	Arc<Nothing>,
	Arc<IgnoringMessageHandler>,
	Arc<KeysManager>,
	Arc<IgnoringMessageHandler>,
>;

struct Node {
	keys: Arc<KeysManager>,
	channels: Arc<Channels>,
	id: PublicKey,
}

fn random() -> [u8; 32] {
	let mut found = [0; 32];
	let mut source = std::fs::File::open("/dev/urandom").expect("randomness");
	std::io::Read::read_exact(&mut source, &mut found).expect("randomness");
	found
}

fn node(now: u64) -> Node {
	let (keys, nothing) = (Arc::new(KeysManager::new(&random(), now, 0, true)), Arc::new(Nothing));
	let monitor = Arc::new(ChainMonitor::new(
		Some(Arc::clone(&nothing)),
		Arc::clone(&nothing),
		Arc::clone(&nothing),
		Arc::clone(&nothing),
		Arc::clone(&nothing),
		Arc::clone(&keys),
		keys.get_peer_storage_key(),
	));
	let mut config = UserConfig::default();
	config.channel_handshake_config.negotiate_anchors_zero_fee_htlc_tx = false;
	config.manually_accept_inbound_channels = false;
	let network = Network::Regtest;
	let channels = Arc::new(ChannelManager::new(
		Arc::clone(&nothing),
		monitor,
		Arc::clone(&nothing),
		Arc::clone(&nothing),
		Arc::new(NullMessageRouter {}),
		Arc::clone(&nothing),
		Arc::clone(&keys),
		Arc::clone(&keys),
		Arc::clone(&keys),
		config,
		ChainParameters { network, best_block: BestBlock::from_network(network) },
		now as u32,
	));
	let id = keys.get_node_id(Recipient::Node).expect("a node id");
	Node { keys, channels, id }
}

/// What one says goes to the other, as far as a channel needs it.
fn carry(from: &Node, to: &Node) {
	for event in from.channels.get_and_clear_pending_msg_events() {
		match event {
			MessageSendEvent::SendOpenChannel { msg, .. } => to.channels.handle_open_channel(from.id, &msg),
			MessageSendEvent::SendAcceptChannel { msg, .. } => to.channels.handle_accept_channel(from.id, &msg),
			MessageSendEvent::SendFundingCreated { msg, .. } => to.channels.handle_funding_created(from.id, &msg),
			MessageSendEvent::SendFundingSigned { msg, .. } => to.channels.handle_funding_signed(from.id, &msg),
			_ => {},
		}
	}
}

fn funding(script_pubkey: ScriptBuf) -> Transaction {
	let mut witness = Witness::new();
	witness.push([1]);
	Transaction {
		version: Version::TWO,
		lock_time: LockTime::ZERO,
		input: vec![TxIn {
			previous_output: OutPoint { txid: "11".repeat(32).parse().expect("a txid"), vout: 0 },
			script_sig: ScriptBuf::new(),
			sequence: Sequence::MAX,
			witness,
		}],
		output: vec![TxOut { value: Amount::from_sat(SATOSHIS), script_pubkey }],
	}
}

/// A funded channel between two nodes, which part then.
fn fund(opener: &Node, other: &Node) {
	for (one, them) in [(opener, other), (other, opener)] {
		let init = Init {
			features: them.channels.provided_init_features(one.id),
			networks: None,
			remote_network_address: None,
		};
		one.channels.peer_connected(them.id, &init, true).expect("a peer");
	}
	opener.channels.create_channel(other.id, SATOSHIS, 0, 1, None, None).expect("a channel");
	carry(opener, other);
	carry(other, opener);
	opener.channels.process_pending_events(&|event: Event| -> Result<(), ReplayEvent> {
		if let Event::FundingGenerationReady { temporary_channel_id, output_script, .. } = event {
			let transaction = funding(output_script);
			opener
				.channels
				.funding_transaction_generated(temporary_channel_id, other.id, transaction)
				.expect("a funding transaction");
		}
		Ok(())
	});
	carry(opener, other);
	carry(other, opener);
	let funded = other.channels.list_channels().iter().any(|one| one.funding_txo.is_some());
	assert!(funded, "no channel was funded");
	opener.channels.peer_disconnected(other.id);
	other.channels.peer_disconnected(opener.id);
}

fn to_hex(bytes: &[u8]) -> String {
	bytes.iter().map(|byte| format!("{:02x}", byte)).collect()
}

async fn run() {
	let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs();
	let (storing, peer) = (node(now), node(now));
	fund(&peer, &storing);
	let ignoring = Arc::new(IgnoringMessageHandler {});
	let handlers = MessageHandler {
		chan_handler: Arc::clone(&storing.channels),
		route_handler: Arc::clone(&ignoring),
		onion_message_handler: Arc::clone(&ignoring),
		custom_message_handler: Arc::clone(&ignoring),
		send_only_message_handler: ignoring,
	};
	let ephemeral = storing.keys.get_secure_random_bytes();
	let manager: Arc<Manager> =
		Arc::new(PeerManager::new(handlers, now as u32, &ephemeral, Arc::new(Nothing), Arc::clone(&storing.keys)));
	let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
	let port = listener.local_addr().expect("its port").port();
	let ready = json!({
		"event": "ready",
		"node_id": to_hex(&storing.id.serialize()),
		"port": port,
		"secret": to_hex(&peer.keys.get_node_secret_key().secret_bytes()),
	});
	println!("{}", ready);
	std::io::stdout().flush().expect("standard output");
	let (ended, mut end) = tokio::sync::mpsc::unbounded_channel::<()>();
	std::thread::spawn(move || {
		for _ in std::io::stdin().lock().lines() {}
		drop(ended);
	});
	tokio::spawn(async move {
		while let Ok((stream, _)) = listener.accept().await {
			let stream = stream.into_std().expect("a stream");
			tokio::spawn(lightning_net_tokio::setup_inbound(Arc::clone(&manager), stream));
		}
	});
	end.recv().await;
}

fn main() {
	tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(run());
}
