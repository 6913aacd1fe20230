//! LDK's own graph: a P2PGossipSync that fills a NetworkGraph, and the graph as JSON. Nothing is decided here.

use std::sync::Arc;

use lightning::bitcoin::constants::ChainHash;
use lightning::bitcoin::Network;
use lightning::routing::gossip::{ChannelInfo, ChannelUpdateInfo, NetworkGraph, NodeId, NodeInfo, P2PGossipSync};
use lightning::routing::utxo::UtxoLookup;
use lightning::util::ser::{ReadableArgs, Writeable};
use serde_json::{json, Value};

use crate::{to_hex, Quiet};

pub type Graph = NetworkGraph<Arc<Quiet>>;
pub type Sync = P2PGossipSync<Arc<Graph>, Arc<dyn UtxoLookup + Send + std::marker::Sync>, Arc<Quiet>>;

/// An empty graph. LDK names no simnet, but what it keeps on a disk says which chain it is of.
pub fn graph_of(chain_hash: &[u8]) -> Arc<Graph> {
	let regtest: Graph = NetworkGraph::new(Network::Regtest, Arc::new(Quiet));
	let mut kept = regtest.encode();
	let known = ChainHash::using_genesis_block(Network::Regtest).to_bytes();
	let at = kept.windows(32).position(|part| part == known).expect("its chain hash");
	kept[at..at + 32].copy_from_slice(chain_hash);
	Arc::new(NetworkGraph::read(&mut &kept[..], Arc::new(Quiet)).expect("an empty graph"))
}

/// Signatures alone are looked at.
pub fn sync_of(graph: Arc<Graph>) -> Arc<Sync> {
	Arc::new(P2PGossipSync::new(graph, None, Arc::new(Quiet)))
}

fn policy(said: &Option<ChannelUpdateInfo>) -> Value {
	let Some(said) = said else { return Value::Null };
	json!({
		"timestamp": said.last_update,
		"disabled": !said.enabled,
		"cltv_expiry_delta": said.cltv_expiry_delta,
		"htlc_minimum_msat": said.htlc_minimum_msat,
		"htlc_maximum_msat": said.htlc_maximum_msat,
		"fee_base_msat": said.fees.base_msat,
		"fee_proportional_millionths": said.fees.proportional_millionths,
		// What it would pass on.
		"message": said.last_update_message.as_ref().map(|message| to_hex(&message.encode())),
	})
}

fn channel(short_channel_id: &u64, info: &ChannelInfo) -> Value {
	json!({
		"short_channel_id": short_channel_id,
		"node_id_1": to_hex(info.node_one.as_slice()),
		"node_id_2": to_hex(info.node_two.as_slice()),
		"policies": [policy(&info.one_to_two), policy(&info.two_to_one)],
		"message": info.announcement_message.as_ref().map(|message| to_hex(&message.encode())),
	})
}

fn node(node_id: &NodeId, info: &NodeInfo) -> Value {
	let said = info.announcement_info.as_ref();
	json!({
		"node_id": to_hex(node_id.as_slice()),
		"timestamp": said.map(|said| said.last_update()),
		"alias": said.map(|said| to_hex(&said.alias().0)),
		"color": said.map(|said| to_hex(&said.rgb())),
		"addresses": said.map(|said| said.addresses().iter().map(|one| to_hex(&one.encode())).collect::<String>()),
		"message": said.and_then(|said| said.announcement_message()).map(|message| to_hex(&message.encode())),
	})
}

/// All of it.
pub fn shown(graph: &Graph) -> (Vec<Value>, Vec<Value>) {
	let held = graph.read_only();
	let channels = held.channels().unordered_iter().map(|(id, info)| channel(id, info)).collect();
	let nodes = held.nodes().unordered_iter().map(|(id, info)| node(id, info)).collect();
	(channels, nodes)
}
