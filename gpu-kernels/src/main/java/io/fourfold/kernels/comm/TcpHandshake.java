package io.fourfold.kernels.comm;

import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.StandardSocketOptions;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.security.SecureRandom;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import jdk.net.ExtendedSocketOptions;

/**
 * Lets the ranks of one world in and nobody else. Both sides prove with HMAC-SHA256 over fresh random numbers that they
 * know the secret of the rendezvous; the secret itself never travels here. What follows is not encrypted.
 */
final class TcpHandshake {
    private static final int MAGIC = 0x34464C44;
    private static final int NONCE_BYTES = 16;
    private static final int PROOF_BYTES = 32;
    private static final int PATIENCE_MILLIS = 10_000;

    private static final SecureRandom RANDOM = new SecureRandom();

    private final byte[] secret;

    TcpHandshake(byte[] secret) {
        this.secret = secret.clone();
    }

    /** Who called, and what for. */
    record Caller(int rank, String purpose) {}

    /**
     * Calls a rank.
     *
     * @param purpose a group, or the control connection
     * @throws IOException when it cannot be reached, or is not of this world
     */
    SocketChannel call(InetSocketAddress address, int from, int to, String purpose, int timeoutMillis)
            throws IOException {
        SocketChannel channel = SocketChannel.open();
        try {
            channel.socket().connect(new InetSocketAddress(address.getHostString(), address.getPort()), timeoutMillis);
            prepare(channel);
            DataInputStream in = new DataInputStream(channel.socket().getInputStream());
            DataOutputStream out = new DataOutputStream(channel.socket().getOutputStream());
            if (in.readInt() != MAGIC) {
                throw new IOException("what answers at " + address + " is no rank");
            }
            byte[] theirs = in.readNBytes(NONCE_BYTES);
            byte[] mine = nonce();
            out.write(mine);
            out.writeInt(from);
            out.writeInt(to);
            out.writeUTF(purpose);
            out.write(proof("call", theirs, mine, from, to, purpose));
            if (!MessageDigest.isEqual(in.readNBytes(PROOF_BYTES), proof("answer", theirs, mine, from, to, purpose))) {
                throw new IOException("the rank at " + address + " is not of this world: it has another secret, or is"
                        + " not world rank " + to);
            }
            channel.socket().setSoTimeout(0);
            return channel;
        } catch (IOException | RuntimeException e) {
            channel.close();
            throw e;
        }
    }

    /**
     * Answers a caller.
     *
     * @throws IOException when the caller does not know the secret, or is too slow
     */
    Caller answer(SocketChannel channel, int rank) throws IOException {
        prepare(channel);
        DataInputStream in = new DataInputStream(channel.socket().getInputStream());
        DataOutputStream out = new DataOutputStream(channel.socket().getOutputStream());
        byte[] mine = nonce();
        out.writeInt(MAGIC);
        out.write(mine);
        byte[] theirs = in.readNBytes(NONCE_BYTES);
        int from = in.readInt();
        int to = in.readInt();
        String purpose = in.readUTF();
        byte[] proof = in.readNBytes(PROOF_BYTES);
        if (to != rank || !MessageDigest.isEqual(proof, proof("call", mine, theirs, from, to, purpose))) {
            throw new IOException("a caller without the secret of this world");
        }
        out.write(proof("answer", mine, theirs, from, to, purpose));
        channel.socket().setSoTimeout(0);
        return new Caller(from, purpose);
    }

    private static void prepare(SocketChannel channel) throws IOException {
        channel.socket().setSoTimeout(PATIENCE_MILLIS);
        channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
        channel.setOption(StandardSocketOptions.SO_KEEPALIVE, true);
        // A machine that vanishes says nothing: ask after 10 s of silence, give up after 3 questions.
        if (channel.supportedOptions().contains(ExtendedSocketOptions.TCP_KEEPIDLE)) {
            channel.setOption(ExtendedSocketOptions.TCP_KEEPIDLE, 10);
            channel.setOption(ExtendedSocketOptions.TCP_KEEPINTERVAL, 5);
            channel.setOption(ExtendedSocketOptions.TCP_KEEPCOUNT, 3);
        }
    }

    private static byte[] nonce() {
        byte[] nonce = new byte[NONCE_BYTES];
        RANDOM.nextBytes(nonce);
        return nonce;
    }

    private byte[] proof(String side, byte[] answerer, byte[] caller, int from, int to, String purpose) {
        try {
            Mac mac = Mac.getInstance("HmacSHA256");
            mac.init(new SecretKeySpec(secret, "HmacSHA256"));
            mac.update(answerer);
            mac.update(caller);
            return mac.doFinal((side + " " + from + " " + to + " " + purpose).getBytes(StandardCharsets.UTF_8));
        } catch (GeneralSecurityException e) {
            throw new IllegalStateException("every Java has HmacSHA256", e);
        }
    }
}
