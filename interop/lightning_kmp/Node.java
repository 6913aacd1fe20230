/**
 * lightning-kmp's noise and codecs (Maven `fr.acinq.lightning:lightning-kmp-jvm`, ACINQ's), driven by JSON lines.
 *
 * This file is a harness: it passes commands in and events out. Handshakes, packets and messages are the library's; the
 * prefix of the acts, their lengths, and who answers a ping stand in its Peer, which wants a wallet, and so here. It
 * talks to loopback only, and ends when its standard input ends.
 *
 * Options: --secret HEX (its node secret), --port N (where it listens); random ones otherwise.
 * Commands (one JSON object a line, each answered by {"event":"reply","id":...}); `send` and `close` are for the latest
 * connection:
 *   {"id":1,"cmd":"dial","node_id":"02..","port":9735}, whose reply has "error" if it failed
 *   {"id":2,"cmd":"send","message":"001200010000"}
 *   {"id":3,"cmd":"send_many","message":"a967","count":2000}: each with its number behind it, in 4 bytes
 *   {"id":4,"cmd":"close"}
 *   {"id":5,"cmd":"decode","messages":["0013.."]}, whose reply has "decoded", each with "class" and "again", what it is
 *       when it is encoded again, or with "error"; of a message that it does not know "class" alone
 *   {"id":6,"cmd":"make","value":{"class":"Pong","args":["00"]}}, whose reply has "hex", and "equal": whether these
 *       bytes decode to the same value; or "error"
 *   {"id":7,"cmd":"bolt12","texts":["lno1..","lnr1..","lni1.."]}, whose reply has "read": each with "again", its text, and
 *       "valid", whether its signature is (an offer has none); or with "error"
 *   {"id":8,"cmd":"answers","invoice":"lni1..","request":"lnr1.."}, whose reply has "error" if it does not
 *   {"id":9,"cmd":"invoice","request":"lnr1..","secret":"11..","preimage":"22..","path":"02.."}, whose reply
 *       has "text": an invoice, signed; `path` is the one blinded path that it may be paid by
 *   {"id":10,"cmd":"request","offer":"lno1..","secret":"33..","amount":1000,"note":".."}, whose reply has "text"
 *   {"id":11,"cmd":"open","secret":"11..","messages":["0201.."]}, whose reply has "opened": each with "content", and
 *       "path_id"; or with "dropped"
 *   {"id":12,"cmd":"seal","secrets":["44..","55.."],"nodes":["02..","03.."],"path_id":"66","content":"hex"}, whose reply
 *       has "hex": an onion message over these nodes, for the last of them; secrets: of the packet, and of the path;
 *       content, here and above: its payload, with its length before it
 * Values of `make`: a number, a boolean, null, hex for what is made of bytes, a list, {"class":..,"args":[..]} for a
 * constructor, {"class":..} for an object, {"tlvs":[..]} for a stream of them. Classes are named without `fr.acinq.`
 * Events: ready (node_id, port), connected (node_id, inbound), refused (a dialler that failed the handshake), message
 * (hex, class: all but pings), closed (error), fatal.
 */

import co.touchlab.kermit.Logger;
import co.touchlab.kermit.Severity;
import co.touchlab.kermit.StaticConfig;
import fr.acinq.bitcoin.ByteVector;
import fr.acinq.bitcoin.ByteVector32;
import fr.acinq.bitcoin.PrivateKey;
import fr.acinq.bitcoin.PublicKey;
import fr.acinq.bitcoin.Satoshi;
import fr.acinq.bitcoin.Transaction;
import fr.acinq.bitcoin.io.ByteArrayInput;
import fr.acinq.bitcoin.utils.Either;
import fr.acinq.lightning.CltvExpiryDelta;
import fr.acinq.lightning.EncodedNodeId;
import fr.acinq.lightning.Features;
import fr.acinq.lightning.MilliSatoshi;
import fr.acinq.lightning.blockchain.fee.FeeratePerKw;
import fr.acinq.lightning.channel.ChannelType;
import fr.acinq.lightning.crypto.noise.Chacha20Poly1305CipherFunctionsDefault;
import fr.acinq.lightning.crypto.noise.CipherState;
import fr.acinq.lightning.crypto.noise.HandshakeState;
import fr.acinq.lightning.crypto.noise.HandshakeStateReader;
import fr.acinq.lightning.crypto.noise.HandshakeStateWriter;
import fr.acinq.lightning.crypto.noise.NoiseKt;
import fr.acinq.lightning.crypto.noise.SHA256HashFunctions;
import fr.acinq.lightning.crypto.noise.Secp256k1DHFunctions;
import fr.acinq.lightning.io.LightningSession;
import fr.acinq.lightning.logging.MDCLogger;
import fr.acinq.lightning.message.OnionMessages;
import fr.acinq.lightning.payment.Bolt12Invoice;
import fr.acinq.lightning.payment.Bolt12Invoice.Companion.PaymentBlindedContactInfo;
import fr.acinq.lightning.wire.GenericTlv;
import fr.acinq.lightning.wire.Init;
import fr.acinq.lightning.wire.LightningMessage;
import fr.acinq.lightning.wire.MessageOnion;
import fr.acinq.lightning.wire.OfferTypes;
import fr.acinq.lightning.wire.OfferTypes.ContactInfo;
import fr.acinq.lightning.wire.OfferTypes.InvoiceRequest;
import fr.acinq.lightning.wire.OfferTypes.Offer;
import fr.acinq.lightning.wire.OfferTypes.PaymentInfo;
import fr.acinq.lightning.wire.OnionMessage;
import fr.acinq.lightning.wire.Ping;
import fr.acinq.lightning.wire.Pong;
import fr.acinq.lightning.wire.Tlv;
import fr.acinq.lightning.wire.TlvStream;
import fr.acinq.lightning.wire.UnknownMessage;
import java.io.BufferedReader;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.LinkedBlockingQueue;
import kotlin.Pair;
import kotlin.Triple;
import kotlin.Unit;
import kotlin.coroutines.Continuation;
import kotlin.coroutines.CoroutineContext;
import kotlin.coroutines.EmptyCoroutineContext;
import kotlin.jvm.internal.DefaultConstructorMarker;
import kotlinx.serialization.json.Json;
import kotlinx.serialization.json.JsonArray;
import kotlinx.serialization.json.JsonElement;
import kotlinx.serialization.json.JsonElementKt;
import kotlinx.serialization.json.JsonNull;
import kotlinx.serialization.json.JsonObject;
import kotlinx.serialization.json.JsonPrimitive;

public final class Node {
    private static final HexFormat HEX = HexFormat.of();
    private static final byte[] NONE = new byte[0];
    private static final byte[] PROLOGUE = "lightning".getBytes(StandardCharsets.US_ASCII);
    private static final byte PREFIX = 0;
    private static final int ACT_ONE = 50, ACT_TWO = 50, ACT_THREE = 66;
    private static final int LARGEST_PONG = 65_531;
    private static final String FEATURES = "08a0002a0aa222";

    private final Pair<byte[], byte[]> keys;
    private final ServerSocket server;
    private volatile Session latest;

    private Node(byte[] secret, int port) throws IOException {
        keys = Secp256k1DHFunctions.INSTANCE.generateKeyPair(secret);
        server = new ServerSocket(port, 50, InetAddress.getLoopbackAddress());
    }

    public static void main(String[] arguments) throws Exception {
        Thread.setDefaultUncaughtExceptionHandler((thread, error) -> {
            say("fatal", "error", error.toString());
            Runtime.getRuntime().halt(1);
        });
        byte[] secret = new byte[32];
        new SecureRandom().nextBytes(secret);
        int port = 0;
        for (int at = 0; at < arguments.length; at += 2) {
            switch (arguments[at]) {
                case "--secret" -> secret = HEX.parseHex(arguments[at + 1]);
                case "--port" -> port = Integer.parseInt(arguments[at + 1]);
                default -> throw new IllegalArgumentException("unknown option " + arguments[at]);
            }
        }
        new Node(secret, port).run();
        System.exit(0);
    }

    private void run() throws IOException {
        start(this::accept);
        say("ready", "node_id", HEX.formatHex(keys.getFirst()), "port", server.getLocalPort());
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JsonObject command = (JsonObject) Json.Default.parseToJsonElement(line);
            List<Object> reply = new ArrayList<>(List.of("id", number(command, "id")));
            reply.addAll(carryOut(command));
            say("reply", reply.toArray());
        }
    }

    private List<Object> carryOut(JsonObject command) {
        switch (text(command, "cmd")) {
            case "dial" -> {
                try {
                    Socket socket = new Socket(InetAddress.getLoopbackAddress(), (int) number(command, "port"));
                    begin(socket, HEX.parseHex(text(command, "node_id")), false);
                } catch (Exception error) { // Kotlin's need not be declared
                    return List.of("error", error.toString());
                }
            }
            case "send" -> latest.outgoing.add(HEX.parseHex(text(command, "message")));
            case "send_many" -> {
                byte[] start = HEX.parseHex(text(command, "message"));
                for (int at = 0; at < number(command, "count"); at++) {
                    latest.outgoing.add(ByteBuffer.allocate(start.length + 4).put(start).putInt(at).array());
                }
            }
            case "close" -> latest.close();
            case "decode" -> {
                List<Object> decoded = new ArrayList<>();
                for (JsonElement one : (JsonArray) command.get("messages")) {
                    decoded.add(decoded(HEX.parseHex(((JsonPrimitive) one).getContent())));
                }
                return List.of("decoded", decoded);
            }
            case "make" -> {
                try {
                    LightningMessage made = (LightningMessage) value(command.get("value"), LightningMessage.class);
                    byte[] bytes = LightningMessage.Companion.encode(made);
                    boolean equal = made.equals(LightningMessage.Companion.decode(bytes));
                    return List.of("hex", HEX.formatHex(bytes), "equal", equal);
                } catch (Exception error) {
                    return List.of("error", error.toString());
                }
            }
            case "bolt12" -> {
                List<Object> read = new ArrayList<>();
                for (JsonElement one : (JsonArray) command.get("texts")) {
                    read.add(bolt12(((JsonPrimitive) one).getContent()));
                }
                return List.of("read", read);
            }
            case "answers" -> {
                InvoiceRequest request = InvoiceRequest.Companion.decode(text(command, "request")).get();
                Bolt12Invoice invoice = Bolt12Invoice.Companion.fromString(text(command, "invoice")).get();
                Either<String, Unit> found = invoice.validateFor(request);
                return found.isLeft() ? List.of("error", String.valueOf(found.getLeft())) : List.of();
            }
            case "invoice" -> {
                return List.of("text", invoice(command));
            }
            case "request" -> {
                Offer offer = Offer.Companion.decode(text(command, "offer")).get();
                return List.of("text", InvoiceRequest.Companion.invoke(offer, new MilliSatoshi(number(command, "amount")), 1,
                    Features.Companion.invoke(NONE), key(command, "secret"), text(command, "note"),
                    offer.getChains().get(0), Set.of(), Set.of()).encode());
            }
            case "open" -> {
                List<Object> opened = new ArrayList<>();
                for (JsonElement one : (JsonArray) command.get("messages")) {
                    opened.add(opened(key(command, "secret"), HEX.parseHex(((JsonPrimitive) one).getContent())));
                }
                return List.of("opened", opened);
            }
            case "seal" -> {
                return List.of("hex", HEX.formatHex(sealed(command)));
            }
            default -> throw new IllegalArgumentException("no such command: " + command);
        }
        return List.of();
    }

    private static Map<String, Object> decoded(byte[] bytes) {
        LightningMessage message;
        try {
            message = LightningMessage.Companion.decode(bytes);
        } catch (Exception error) {
            return Map.of("error", error.toString());
        }
        String kind = message.getClass().getSimpleName();
        if (message instanceof UnknownMessage) {
            return Map.of("class", kind); // it keeps their type alone
        }
        return Map.of("class", kind, "again", HEX.formatHex(LightningMessage.Companion.encode(message)));
    }

    // -----------------------------------------------------------------------------------------------------------------
    // Offers, and onion messages

    private static PrivateKey key(JsonObject command, String name) {
        return new PrivateKey(HEX.parseHex(text(command, name)));
    }

    private static Map<String, Object> bolt12(String text) {
        try {
            if (text.startsWith("lno")) {
                return Map.of("again", Offer.Companion.decode(text).get().encode(), "valid", true);
            } else if (text.startsWith("lnr")) {
                InvoiceRequest request = InvoiceRequest.Companion.decode(text).get();
                return Map.of("again", request.encode(), "valid", request.isValid() && request.checkSignature());
            }
            Bolt12Invoice invoice = Bolt12Invoice.Companion.fromString(text).get();
            return Map.of("again", invoice.write(), "valid", invoice.checkSignature());
        } catch (Exception error) {
            return Map.of("error", error.toString());
        }
    }

    private static String invoice(JsonObject command) {
        InvoiceRequest request = InvoiceRequest.Companion.decode(text(command, "request")).get();
        ContactInfo.BlindedPath path =
            OfferTypes.INSTANCE.readPath(new ByteArrayInput(HEX.parseHex(text(command, "path"))));
        PaymentInfo info = new PaymentInfo(new MilliSatoshi(1), 2, new CltvExpiryDelta(3), new MilliSatoshi(4),
            new MilliSatoshi(500_000), Features.Companion.invoke(NONE));
        Bolt12Invoice made = Bolt12Invoice.Companion.invoke(request, new ByteVector32(text(command, "preimage")),
            key(command, "secret"), 3600, Features.Companion.invoke(NONE),
            List.of(new PaymentBlindedContactInfo(path, info)), Set.of(), Set.of());
        return made.write();
    }

    private static Map<String, Object> opened(PrivateKey key, byte[] message) {
        OnionMessage onion = (OnionMessage) LightningMessage.Companion.decode(message);
        MDCLogger silent = new MDCLogger(new Logger(new StaticConfig(Severity.Assert, List.of()), ""), Map.of());
        OnionMessages.DecryptedMessage found = OnionMessages.INSTANCE.decryptMessage(key, onion, silent);
        if (found == null) {
            return Map.of("dropped", true);
        }
        ByteVector pathId = found.getPathId();
        return Map.of("content", HEX.formatHex(found.getContent().write()), "path_id",
            pathId == null ? "" : pathId.toHex());
    }

    private static byte[] sealed(JsonObject command) {
        List<PublicKey> nodes = new ArrayList<>();
        ((JsonArray) command.get("nodes")).forEach(one -> nodes.add(PublicKey.fromHex(((JsonPrimitive) one).getContent())));
        List<OnionMessages.IntermediateNode> before = nodes.subList(0, nodes.size() - 1).stream()
            .map(node -> new OnionMessages.IntermediateNode(plain(node), null, null, Set.of())).toList();
        ByteVector pathId = new ByteVector(text(command, "path_id"));
        OnionMessages.Destination to = new OnionMessages.Destination.Recipient(
            plain(nodes.get(nodes.size() - 1)), pathId.isEmpty() ? null : pathId, null, Set.of());
        JsonArray secrets = (JsonArray) command.get("secrets");
        Either<OnionMessages.BuildMessageError, OnionMessage> made = OnionMessages.INSTANCE.buildMessage(
            new PrivateKey(HEX.parseHex(((JsonPrimitive) secrets.get(0)).getContent())),
            new PrivateKey(HEX.parseHex(((JsonPrimitive) secrets.get(1)).getContent())), before, to,
            MessageOnion.Companion.getTlvSerializer().read(HEX.parseHex(text(command, "content"))));
        return LightningMessage.Companion.encode(made.getRight());
    }

    private static EncodedNodeId.WithPublicKey plain(PublicKey node) {
        return new EncodedNodeId.WithPublicKey.Plain(node);
    }

    // -----------------------------------------------------------------------------------------------------------------
    // Connections

    private void accept() {
        while (true) {
            try {
                Socket socket = server.accept();
                try {
                    begin(socket, NONE, true);
                } catch (Exception error) {
                    socket.close();
                    say("refused", "error", error.toString());
                }
            } catch (IOException error) {
                throw new IllegalStateException(error);
            }
        }
    }

    private void begin(Socket socket, byte[] nodeId, boolean inbound) throws IOException {
        socket.setTcpNoDelay(true);
        DataInputStream input = new DataInputStream(socket.getInputStream());
        OutputStream output = socket.getOutputStream();
        Pair<byte[], byte[]> none = new Pair<>(NONE, NONE);
        var dh = Secp256k1DHFunctions.INSTANCE;
        var cipher = Chacha20Poly1305CipherFunctionsDefault.INSTANCE;
        var hash = SHA256HashFunctions.INSTANCE;
        var random = fr.acinq.lightning.crypto.noise.RandomBytes.INSTANCE;
        var pattern = NoiseKt.getHandshakePatternXK();
        Triple<CipherState, CipherState, byte[]> done;
        if (inbound) {
            HandshakeStateReader one = HandshakeState.Companion.initializeReader(
                pattern, PROLOGUE, keys, none, NONE, NONE, dh, cipher, hash, random);
            var two = one.read(readAct(input, ACT_ONE)).getFirst().write(NONE);
            writeAct(output, two.getSecond());
            var three = two.getFirst().read(readAct(input, ACT_THREE));
            nodeId = three.getFirst().getRs();
            done = three.getThird();
        } else {
            HandshakeStateWriter writer = HandshakeState.Companion.initializeWriter(
                pattern, PROLOGUE, keys, none, nodeId, NONE, dh, cipher, hash, random);
            var one = writer.write(NONE);
            writeAct(output, one.getSecond());
            var three = one.getFirst().read(readAct(input, ACT_TWO)).getFirst().write(NONE);
            writeAct(output, three.getSecond());
            done = three.getThird();
        }
        // The first of the two is the initiator's to send with.
        CipherState sends = inbound ? done.getSecond() : done.getFirst();
        CipherState receives = inbound ? done.getFirst() : done.getSecond();
        LightningSession ciphers = new LightningSession(sends, receives, done.getThird());
        say("connected", "node_id", HEX.formatHex(nodeId), "inbound", inbound);
        latest = new Session(socket, input, output, ciphers);
    }

    private static byte[] readAct(DataInputStream input, int size) throws IOException {
        byte[] act = new byte[size];
        input.readFully(act);
        if (act[0] != PREFIX) {
            throw new IOException("an act begins with " + act[0]);
        }
        return java.util.Arrays.copyOfRange(act, 1, size);
    }

    private static void writeAct(OutputStream output, byte[] act) throws IOException {
        output.write(ByteBuffer.allocate(1 + act.length).put(PREFIX).put(act).array());
    }

    /** A connection after its handshake. One thread reads and one writes, or two sides with much to say would wait. */
    private static final class Session {
        final LinkedBlockingQueue<byte[]> outgoing = new LinkedBlockingQueue<>();
        private final Socket socket;
        private final DataInputStream input;
        private final OutputStream output;
        private final LightningSession ciphers;

        Session(Socket socket, DataInputStream input, OutputStream output, LightningSession ciphers) {
            this.socket = socket;
            this.input = input;
            this.output = output;
            this.ciphers = ciphers;
            Features features = Features.Companion.invoke(HEX.parseHex(FEATURES));
            outgoing.add(LightningMessage.Companion.encode(new Init(features, stream(List.of()))));
            start(this::read);
            start(this::write);
        }

        void close() {
            try {
                socket.close();
            } catch (IOException error) {
                // the other side was first
            }
        }

        private void read() {
            try {
                while (true) {
                    byte[] bytes = receive();
                    LightningMessage message = LightningMessage.Companion.decode(bytes);
                    if (message instanceof Ping ping) {
                        if (ping.getPongLength() <= LARGEST_PONG) {
                            Pong pong = new Pong(new ByteVector(new byte[ping.getPongLength()]));
                            outgoing.add(LightningMessage.Companion.encode(pong));
                        }
                        continue;
                    }
                    say("message", "hex", HEX.formatHex(bytes), "class", message.getClass().getSimpleName());
                }
            } catch (Exception error) {
                close();
                outgoing.add(NONE); // wakes the writer
                say("closed", "error", error.toString());
            }
        }

        private void write() {
            try {
                while (true) {
                    byte[] bytes = outgoing.take();
                    if (socket.isClosed()) {
                        return;
                    }
                    send(bytes);
                }
            } catch (IOException | InterruptedException error) {
                close(); // the reader says so
            }
        }

        /** Its suspending function, whose reads never suspend: the answer is there at once. */
        private byte[] receive() throws IOException {
            return (byte[]) ciphers.receive(
                (size, continuation) -> {
                    byte[] bytes = new byte[size];
                    try {
                        input.readFully(bytes);
                    } catch (IOException error) {
                        throw Node.<RuntimeException>thrown(error);
                    }
                    return bytes;
                },
                new Blocking<byte[]>());
        }

        private void send(byte[] bytes) throws IOException {
            ciphers.send(
                bytes,
                (packet, flush, continuation) -> {
                    try {
                        output.write(packet);
                    } catch (IOException error) {
                        throw Node.<RuntimeException>thrown(error);
                    }
                    return Unit.INSTANCE;
                },
                new Blocking<Unit>());
        }
    }

    /** Who would be told if a function had suspended. */
    private static final class Blocking<T> implements Continuation<T> {
        @Override
        public CoroutineContext getContext() {
            return EmptyCoroutineContext.INSTANCE;
        }

        @Override
        public void resumeWith(Object result) {
            throw new IllegalStateException("it has suspended");
        }
    }

    /** Through Kotlin's functions, which declare nothing. */
    @SuppressWarnings("unchecked")
    private static <E extends Exception> E thrown(Exception error) throws E {
        throw (E) error;
    }

    // -----------------------------------------------------------------------------------------------------------------
    // Values of its classes from JSON

    private static Object value(JsonElement from, Type type) {
        Class<?> cls = (Class<?>) (type instanceof ParameterizedType generic ? generic.getRawType() : type);
        if (from instanceof JsonNull) {
            return null;
        }
        if (from instanceof JsonObject object) {
            if (!object.containsKey("tlvs")) {
                return made(object);
            }
            List<Object> records = new ArrayList<>();
            ((JsonArray) object.get("tlvs")).forEach(one -> records.add(made((JsonObject) one)));
            return stream(records);
        }
        if (from instanceof JsonArray array) {
            List<Object> list = new ArrayList<>();
            Type item = ((ParameterizedType) type).getActualTypeArguments()[0];
            if (item instanceof java.lang.reflect.WildcardType any) {
                item = any.getUpperBounds()[0];
            }
            for (JsonElement one : array) {
                list.add(value(one, item));
            }
            return list;
        }
        JsonPrimitive primitive = (JsonPrimitive) from;
        if (primitive.isString()) {
            return ofBytes(HEX.parseHex(primitive.getContent()), cls);
        }
        if (cls == boolean.class) {
            return JsonElementKt.getBoolean(primitive);
        }
        // Unsigned ones of 64 bits are signed here.
        long number = Long.parseUnsignedLong(primitive.getContent().replace("-", ""));
        number = primitive.getContent().startsWith("-") ? -number : number;
        if (cls == long.class) {
            return number;
        } else if (cls == int.class) {
            return (int) number;
        } else if (cls == byte.class) {
            return (byte) number;
        } else if (cls == FeeratePerKw.class) {
            return new FeeratePerKw(new Satoshi(number));
        }
        for (Class<?> size : List.of(long.class, int.class)) {
            try {
                return construct(cls.getConstructor(size), size == int.class ? (Object) (int) number : (Object) number);
            } catch (NoSuchMethodException error) {
                // the other one
            }
        }
        throw new IllegalArgumentException(cls + " is not made of a number");
    }

    private static Object ofBytes(byte[] bytes, Class<?> cls) {
        if (cls == Features.class) {
            return Features.Companion.invoke(bytes);
        } else if (cls == ChannelType.class) {
            return ChannelType.Companion.fromFeatures(Features.Companion.invoke(bytes));
        } else if (cls == Transaction.class) {
            return Transaction.Companion.read(bytes);
        }
        try {
            return construct(cls.getConstructor(byte[].class), (Object) bytes);
        } catch (NoSuchMethodException error) {
            throw new IllegalArgumentException(cls + " is not made of bytes");
        }
    }

    private static Object made(JsonObject object) {
        try {
            Class<?> cls = Class.forName("fr.acinq." + text(object, "class"));
            if (!object.containsKey("args")) {
                return cls.getField("INSTANCE").get(null);
            }
            JsonArray given = (JsonArray) object.get("args");
            RuntimeException refused = new IllegalArgumentException("no constructor for " + object);
            for (Constructor<?> constructor : cls.getConstructors()) {
                Type[] types = constructor.getGenericParameterTypes();
                // What takes an unsigned number is marked so; with one more argument it is the one for defaults.
                int marked = types.length > 0 && types[types.length - 1] == DefaultConstructorMarker.class ? 1 : 0;
                if (types.length - marked != given.size() || List.of(types).contains(String.class)) {
                    continue;
                }
                Object[] arguments = new Object[types.length];
                try {
                    for (int at = 0; at < given.size(); at++) {
                        arguments[at] = value(given.get(at), types[at]);
                    }
                    return construct(constructor, arguments);
                } catch (IllegalArgumentException | ClassCastException error) {
                    refused = error; // another one may take them
                }
            }
            throw refused;
        } catch (ReflectiveOperationException error) {
            throw new IllegalArgumentException(error);
        }
    }

    private static Object construct(Constructor<?> constructor, Object... arguments) {
        try {
            return constructor.newInstance(arguments);
        } catch (InvocationTargetException error) {
            throw new IllegalArgumentException(error.getCause());
        } catch (ReflectiveOperationException error) {
            throw new IllegalArgumentException(error);
        }
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    private static <T extends Tlv> TlvStream<T> stream(List<?> records) {
        Set<Object> known = new LinkedHashSet<>(), unknown = new LinkedHashSet<>();
        for (Object record : records) {
            (record instanceof GenericTlv ? unknown : known).add(record);
        }
        return new TlvStream(known, unknown);
    }

    // -----------------------------------------------------------------------------------------------------------------
    // JSON lines

    private static String text(JsonObject object, String name) {
        return ((JsonPrimitive) object.get(name)).getContent();
    }

    private static long number(JsonObject object, String name) {
        return JsonElementKt.getLong((JsonPrimitive) object.get(name));
    }

    private static void say(String event, Object... pairs) {
        StringBuilder line = new StringBuilder("{\"event\":" + json(event));
        for (int at = 0; at < pairs.length; at += 2) {
            line.append(',').append(json(pairs[at])).append(':').append(json(pairs[at + 1]));
        }
        synchronized (System.out) {
            System.out.println(line.append('}'));
            System.out.flush();
        }
    }

    private static String json(Object value) {
        if (value instanceof List<?> list) {
            return "[" + String.join(",", list.stream().map(Node::json).toList()) + "]";
        } else if (value instanceof Map<?, ?> map) {
            return "{" + String.join(",", map.entrySet().stream()
                .map(entry -> json(entry.getKey()) + ":" + json(entry.getValue())).toList()) + "}";
        } else if (value instanceof String text) {
            return JsonElementKt.JsonPrimitive(text).toString();
        }
        return value.toString();
    }

    private static void start(Runnable task) {
        Thread thread = new Thread(task);
        thread.setDaemon(true);
        thread.start();
    }
}
