package io.fourfold.kernels.comm;

import io.fourfold.kernels.cpu.CpuTensor;
import java.util.List;
import java.util.function.IntSupplier;

/** Says which part goes to whom and comes from whom; {@link TcpExchange} and {@link TcpMessages} move them. Used by one thread at a time. */
final class TcpCommunicator extends CpuCommunicator {
    private static final IntSupplier ALL = () -> Integer.MAX_VALUE;

    private final TcpGroup group;
    private final TcpExchange exchange;
    private final TcpMessages messages;
    private final WireFormat format = new WireFormat();

    TcpCommunicator(TcpWorld world, TcpHub hub, String name, List<Integer> members, String purpose) {
        super(name, members.indexOf(hub.rank()), members.size());
        this.group = new TcpGroup(world, hub, name, members, purpose);
        this.exchange = new TcpExchange(group, format);
        this.messages = new TcpMessages(group, format);
    }

    @Override
    void moveAllReduce(CollectiveCall call, ReduceOp op, CpuTensor values, int[] starts) {
        if (size() == 1) {
            exchange.run(call, link -> {}, null);
            return;
        }
        int from = starts[rank()];
        int length = starts[rank() + 1] - from;
        StagedReduction reduction = new StagedReduction(format, op, rank(), size(), values, from, values, from, length);
        exchange.run(
                call,
                link -> {
                    int start = starts[link.member()];
                    int theirs = starts[link.member() + 1] - start;
                    link.write(Outgoing.part(format, values, start, theirs, ALL));
                    link.read(reduction.from(link.member()));
                    // A peer sends a reduced block only after it has read ours, so this overwrites nothing unsent.
                    link.write(Outgoing.part(format, values, from, length, reduction::done));
                    link.read(Incoming.part(format, values, start, theirs));
                },
                reduction);
    }

    @Override
    void moveReduceScatter(CollectiveCall call, ReduceOp op, CpuTensor send, int[] starts, CpuTensor receive) {
        StagedReduction reduction =
                new StagedReduction(format, op, rank(), size(), send, starts[rank()], receive, 0, receive.size());
        exchange.run(
                call,
                link -> {
                    int start = starts[link.member()];
                    link.write(Outgoing.part(format, send, start, starts[link.member() + 1] - start, ALL));
                    link.read(reduction.from(link.member()));
                },
                reduction);
    }

    @Override
    void moveAllGather(CollectiveCall call, CpuTensor send, CpuTensor receive, int[] starts) {
        exchange.run(
                call,
                link -> {
                    int start = starts[link.member()];
                    link.write(Outgoing.part(format, send, 0, send.size(), ALL));
                    link.read(Incoming.part(format, receive, start, starts[link.member() + 1] - start));
                },
                null);
        copy(send, 0, receive, starts[rank()], send.size());
    }

    @Override
    void moveAllToAll(CollectiveCall call, CpuTensor send, int[] sendStarts, CpuTensor receive, int[] receiveStarts) {
        exchange.run(
                call,
                link -> {
                    int to = sendStarts[link.member()];
                    int from = receiveStarts[link.member()];
                    link.write(Outgoing.part(format, send, to, sendStarts[link.member() + 1] - to, ALL));
                    link.read(Incoming.part(format, receive, from, receiveStarts[link.member() + 1] - from));
                },
                null);
        copy(send, sendStarts[rank()], receive, receiveStarts[rank()], sendStarts[rank() + 1] - sendStarts[rank()]);
    }

    @Override
    void moveBroadcast(CollectiveCall call, CpuTensor values) {
        exchange.run(
                call,
                link -> {
                    if (rank() == call.root()) {
                        link.write(Outgoing.part(format, values, 0, values.size(), ALL));
                    } else if (link.member() == call.root()) {
                        link.read(Incoming.part(format, values, 0, values.size()));
                    }
                },
                null);
    }

    @Override
    void moveNothing(CollectiveCall call) {
        exchange.run(call, link -> {}, null);
    }

    @Override
    void moveSend(CpuTensor values, int peer) {
        messages.send(values, peer);
    }

    @Override
    void moveReceive(CpuTensor values, int peer) {
        Message message = messages.receive(values, peer);
        require(message.fits(values), message.misfit(values, peer));
        message.copyTo(values);
    }

    @Override
    CommunicationException refuse(String problem) {
        return group.refuse(problem);
    }

    /** Gives what was sent the time to reach the network. */
    void drain() {
        messages.drain();
    }

    @Override
    public void close() {
        super.close();
        drain();
        exchange.close();
        messages.close();
    }
}
