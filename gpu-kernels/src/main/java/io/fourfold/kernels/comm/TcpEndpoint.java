package io.fourfold.kernels.comm;

import java.io.IOException;
import java.net.BindException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.channels.ServerSocketChannel;
import java.util.Objects;

/**
 * Where a rank can be reached: opened before the ranks know each other, so that its port can travel in the rendezvous.
 * {@link TcpWorld#connect} takes it over and closes it.
 */
public final class TcpEndpoint implements AutoCloseable {
    /** Connections that may wait for being accepted: all ranks may call at the same moment. */
    private static final int BACKLOG = 1024;

    private final String host;
    private final ServerSocketChannel server;

    private TcpEndpoint(String host, ServerSocketChannel server) {
        this.host = host;
        this.server = server;
    }

    /**
     * Listens on a free port.
     *
     * @param host name or address by which other ranks reach this machine. Listens on it alone if the machine itself has
     *     it, else (address translation) on all addresses
     */
    public static TcpEndpoint open(String host) throws IOException {
        ServerSocketChannel server = ServerSocketChannel.open();
        try {
            try {
                server.bind(new InetSocketAddress(InetAddress.getByName(host), 0), BACKLOG);
            } catch (BindException e) {
                server.bind(new InetSocketAddress(0), BACKLOG);
            }
            return new TcpEndpoint(host, server);
        } catch (IOException | RuntimeException e) {
            server.close();
            throw e;
        }
    }

    /** What other ranks need to know. */
    public InetSocketAddress address() {
        try {
            int port = ((InetSocketAddress) Objects.requireNonNull(server.getLocalAddress())).getPort();
            return InetSocketAddress.createUnresolved(host, port);
        } catch (IOException e) {
            throw new CommunicationException("the endpoint on " + host + " is closed", e);
        }
    }

    ServerSocketChannel server() {
        return server;
    }

    @Override
    public void close() throws IOException {
        server.close();
    }
}
