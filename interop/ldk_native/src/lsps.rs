//! LDK's LiquidityManager: a provider of LSPS0, 1, 2 and 5 that has a menu of one line and takes every order, and a client
//! of all of them.
//!
//! What is read, refused and answered LDK decides; prices are here.
//!
//!   --lsps yes         with this; it wants --onion too, whose ChannelManager it uses
//!
//! Commands, each to a provider, by its "node_id"; what comes of it is an event:
//!   {"cmd":"lsps_protocols"}   {"cmd":"lsps_fees","token":"text"}
//!   {"cmd":"lsps_buy","payment_size_msat":1000}: the first line of the latest menu
//!   {"cmd":"lsps_options"}   {"cmd":"lsps_webhook","app_name":"text","webhook":"https://.."}
//! Events: lsps (what: LDK's event in its own words), webhook (app_name, url, headers, body: what it would post), asked
//! (method and what it was asked).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lightning::bitcoin::secp256k1::PublicKey;
use lightning::io::{Error, ErrorKind};
use lightning::ln::msgs::{DecodeError, Init, LightningError};
use lightning::ln::peer_handler::CustomMessageHandler;
use lightning::ln::wire::CustomMessageReader;
use lightning::onion_message::messenger::NullMessageRouter;
use lightning::sign::KeysManager;
use lightning::types::features::{InitFeatures, NodeFeatures};
use lightning::util::persist::KVStoreSync;
use lightning::util::ser::LengthLimitedRead;
use lightning_liquidity::events::LiquidityEvent;
use lightning_liquidity::lsps0::ser::{LSPSDateTime, RawLSPSMessage};
use lightning_liquidity::lsps1::client::LSPS1ClientConfig;
use lightning_liquidity::lsps1::event::LSPS1ServiceEvent;
use lightning_liquidity::lsps1::msgs::{
	LSPS1Bolt12PaymentInfo, LSPS1Options, LSPS1OrderState, LSPS1PaymentInfo, LSPS1PaymentState,
};
use lightning_liquidity::lsps1::service::LSPS1ServiceConfig;
use lightning_liquidity::lsps2::client::LSPS2ClientConfig;
use lightning_liquidity::lsps2::event::{LSPS2ClientEvent, LSPS2ServiceEvent};
use lightning_liquidity::lsps2::msgs::{LSPS2OpeningFeeParams, LSPS2RawOpeningFeeParams};
use lightning_liquidity::lsps2::service::LSPS2ServiceConfig;
use lightning_liquidity::lsps5::client::LSPS5ClientConfig;
use lightning_liquidity::lsps5::event::LSPS5ServiceEvent;
use lightning_liquidity::lsps5::service::LSPS5ServiceConfig;
use lightning_liquidity::utils::time::DefaultTimeProvider;
use lightning_liquidity::{LiquidityClientConfig, LiquidityManagerSync, LiquidityServiceConfig};
use serde_json::{json, Value};

use crate::onion::{Channels, Nothing};
use crate::{emit, node_id};

pub const MESSAGE_TYPE: u16 = 37913;
const SCID: u64 = 539268 << 40 | 845 << 16 | 1;
const FEE_SAT: u64 = 1000;

fn in_an_hour() -> LSPSDateTime {
	let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
	LSPSDateTime::new_from_duration_since_epoch(now + Duration::from_secs(3600))
}

/// A disk in memory.
#[derive(Default)]
pub struct Disk(Mutex<HashMap<String, Vec<u8>>>);

fn place(one: &str, two: &str, key: &str) -> String {
	format!("{}/{}/{}", one, two, key)
}

impl KVStoreSync for Disk {
	fn read(&self, one: &str, two: &str, key: &str) -> Result<Vec<u8>, Error> {
		let found = self.0.lock().unwrap().get(&place(one, two, key)).cloned();
		found.ok_or(Error::new(ErrorKind::NotFound, "nothing"))
	}
	fn write(&self, one: &str, two: &str, key: &str, value: Vec<u8>) -> Result<(), Error> {
		self.0.lock().unwrap().insert(place(one, two, key), value);
		Ok(())
	}
	fn remove(&self, one: &str, two: &str, key: &str, _: bool) -> Result<(), Error> {
		self.0.lock().unwrap().remove(&place(one, two, key));
		Ok(())
	}
	fn list(&self, _: &str, _: &str) -> Result<Vec<String>, Error> {
		Ok(Vec::new())
	}
}

type Liquidity = LiquidityManagerSync<
	Arc<KeysManager>,
	Arc<KeysManager>,
	Arc<Channels>,
	Arc<Nothing>,
	Arc<Disk>,
	DefaultTimeProvider,
	Arc<Nothing>,
>;

pub struct Lsps {
	manager: Liquidity,
	channels: Arc<Channels>,
	menu: Mutex<Option<LSPS2OpeningFeeParams>>,
}

impl Lsps {
	pub fn new(keys: &Arc<KeysManager>, channels: &Arc<Channels>) -> Self {
		let options = LSPS1Options {
			min_required_channel_confirmations: 0,
			min_funding_confirms_within_blocks: 6,
			supports_zero_channel_reserve: true,
			max_channel_expiry_blocks: 20160,
			min_initial_client_balance_sat: 0,
			max_initial_client_balance_sat: 1_000_000,
			min_initial_lsp_balance_sat: 20_000,
			max_initial_lsp_balance_sat: 10_000_000,
			min_channel_balance_sat: 50_000,
			max_channel_balance_sat: 10_000_000,
		};
		let service = LiquidityServiceConfig {
			lsps1_service_config: Some(LSPS1ServiceConfig { token: None, supported_options: Some(options) }),
			lsps2_service_config: Some(LSPS2ServiceConfig { promise_secret: [9; 32] }),
			lsps5_service_config: Some(LSPS5ServiceConfig { max_webhooks_per_client: 3 }),
			advertise_service: true,
		};
		let client = LiquidityClientConfig {
			lsps1_client_config: Some(LSPS1ClientConfig { max_channel_fees_msat: None }),
			lsps2_client_config: Some(LSPS2ClientConfig {}),
			lsps5_client_config: Some(LSPS5ClientConfig {}),
		};
		let nothing = Arc::new(Nothing);
		let manager = LiquidityManagerSync::new(
			Arc::clone(keys),
			Arc::clone(keys),
			Arc::clone(channels),
			None,
			None,
			Arc::new(Disk::default()),
			nothing,
			Some(service),
			Some(client),
		);
		Self { manager: manager.expect("an empty disk"), channels: Arc::clone(channels), menu: Mutex::new(None) }
	}

	/// The payload of one of its messages.
	pub fn read<R: LengthLimitedRead>(&self, buffer: &mut R) -> Result<Option<Vec<u8>>, DecodeError> {
		Ok(self.manager.read(MESSAGE_TYPE, buffer)?.map(|message| message.payload.into_bytes()))
	}

	pub fn handle(&self, payload: &[u8], from: PublicKey) -> Result<(), LightningError> {
		let payload = String::from_utf8(payload.to_vec()).expect("it was one");
		let done = self.manager.handle_custom_message(RawLSPSMessage { payload }, from);
		self.answer();
		done
	}

	pub fn pending(&self) -> Vec<(PublicKey, Vec<u8>)> {
		let found = self.manager.get_and_clear_pending_msg();
		found.into_iter().map(|(to, message)| (to, message.payload.into_bytes())).collect()
	}

	pub fn connected(&self, them: PublicKey, init: &Init, inbound: bool) -> Result<(), ()> {
		self.manager.peer_connected(them, init, inbound)
	}

	pub fn disconnected(&self, them: PublicKey) {
		self.manager.peer_disconnected(them);
	}

	pub fn node_features(&self) -> NodeFeatures {
		self.manager.provided_node_features()
	}

	pub fn init_features(&self, them: PublicKey) -> InitFeatures {
		self.manager.provided_init_features(them)
	}

	fn order(&self, event: LSPS1ServiceEvent) {
		let service = self.manager.lsps1_service_handler().expect("a service");
		match event {
			LSPS1ServiceEvent::RequestForPaymentDetails { request_id, counterparty_node_id, order } => {
				emit(json!({"event": "asked", "method": "lsps1.create_order", "order": format!("{:?}", order)}));
				let order_total_sat = FEE_SAT + order.client_balance_sat;
				let begun = self.channels.create_offer_builder_using_router(&NullMessageRouter {});
				let offer = begun.and_then(|builder| {
					builder.description("a channel".into()).amount_msats(order_total_sat * 1000).build()
				});
				let bolt12 = LSPS1Bolt12PaymentInfo {
					state: LSPS1PaymentState::ExpectPayment,
					expires_at: in_an_hour(),
					fee_total_sat: FEE_SAT,
					order_total_sat,
					offer: offer.expect("an offer"),
				};
				let payment = LSPS1PaymentInfo { bolt11: None, bolt12: Some(bolt12), onchain: None };
				let given = service.send_payment_details(request_id, &counterparty_node_id, payment, in_an_hour());
				given.expect("a request");
			},
			LSPS1ServiceEvent::CheckPaymentConfirmation { request_id, counterparty_node_id, order_id } => {
				emit(json!({"event": "asked", "method": "lsps1.get_order"}));
				let created = LSPS1OrderState::Created;
				let told = service.update_order_status(request_id, counterparty_node_id, order_id, created, None);
				told.expect("an order");
			},
			other => emit(json!({"event": "lsps", "what": format!("{:?}", other)})),
		}
	}

	/// What its user would decide.
	fn answer(&self) {
		for event in self.manager.get_and_clear_pending_events() {
			match event {
				LiquidityEvent::LSPS1Service(event) => self.order(event),
				LiquidityEvent::LSPS2Service(LSPS2ServiceEvent::GetInfo { request_id, counterparty_node_id, token }) => {
					emit(json!({"event": "asked", "method": "lsps2.get_info", "token": token}));
					let service = self.manager.lsps2_service_handler().expect("a service");
					if token.as_deref() == Some("bad") {
						service.invalid_token_provided(&counterparty_node_id, request_id).expect("a request");
						continue;
					}
					let line = LSPS2RawOpeningFeeParams {
						min_fee_msat: 546_000,
						proportional: 1200,
						valid_until: in_an_hour(),
						min_lifetime: 1008,
						max_client_to_self_delay: 2016,
						min_payment_size_msat: 1000,
						max_payment_size_msat: 1_000_000_000,
					};
					service.opening_fee_params_generated(&counterparty_node_id, request_id, vec![line]).expect("a request");
				},
				LiquidityEvent::LSPS2Service(LSPS2ServiceEvent::BuyRequest {
					request_id,
					counterparty_node_id,
					payment_size_msat,
					..
				}) => {
					emit(json!({"event": "asked", "method": "lsps2.buy", "payment_size_msat": payment_size_msat}));
					let service = self.manager.lsps2_service_handler().expect("a service");
					let made =
						service.invoice_parameters_generated(&counterparty_node_id, request_id, SCID, 144, false, 1);
					made.expect("a request");
				},
				LiquidityEvent::LSPS5Service(LSPS5ServiceEvent::SendWebhookNotification {
					app_name,
					url,
					notification,
					headers,
					..
				}) => emit(json!({
					"event": "webhook",
					"app_name": app_name.to_string(),
					"url": url.to_string(),
					"headers": headers.into_iter().collect::<HashMap<String, String>>(),
					"body": serde_json::to_string(&notification).expect("JSON"),
				})),
				LiquidityEvent::LSPS2Client(LSPS2ClientEvent::OpeningParametersReady { opening_fee_params_menu, .. }) => {
					emit(json!({"event": "lsps", "what": format!("{:?}", opening_fee_params_menu)}));
					*self.menu.lock().unwrap() = opening_fee_params_menu.into_iter().next();
				},
				other => emit(json!({"event": "lsps", "what": format!("{:?}", other)})),
			}
		}
	}

	/// Whether the command is one of these; what it puts into the outbox is sent by whoever asks.
	pub fn carry_out(&self, command: &Value, reply: &mut Value) -> bool {
		let text = |name: &str| command[name].as_str().map(String::from);
		let failed = match command["cmd"].as_str().expect("cmd") {
			"lsps_protocols" => {
				self.manager.lsps0_client_handler().list_protocols(&node_id(command));
				None
			},
			"lsps_fees" => {
				let client = self.manager.lsps2_client_handler().expect("a client");
				client.request_opening_params(node_id(command), text("token"));
				None
			},
			"lsps_buy" => {
				let line = self.menu.lock().unwrap().clone().expect("a menu");
				let client = self.manager.lsps2_client_handler().expect("a client");
				let size = command["payment_size_msat"].as_u64();
				client.select_opening_params(node_id(command), size, line).err().map(|error| format!("{:?}", error))
			},
			"lsps_options" => {
				let client = self.manager.lsps1_client_handler().expect("a client");
				client.request_supported_options(node_id(command));
				None
			},
			"lsps_webhook" => {
				let (name, webhook) = (text("app_name").expect("app_name"), text("webhook").expect("webhook"));
				let client = self.manager.lsps5_client_handler().expect("a client");
				client.set_webhook(node_id(command), name, webhook).err().map(|error| format!("{:?}", error))
			},
			_ => return false,
		};
		if let Some(why) = failed {
			reply["error"] = json!(why);
		}
		true
	}
}
