package io.fourfold.kernels.comm;

import io.fourfold.kernels.cpu.CpuTensor;

/** One member's side of an {@link InProcessGroup}. Used by one thread at a time. */
final class InProcessCommunicator extends CpuCommunicator {
    private final InProcessGroup group;

    InProcessCommunicator(InProcessGroup group, int rank) {
        super(group.name(), rank, group.size());
        this.group = group;
    }

    @Override
    void moveAllReduce(CollectiveCall call, ReduceOp op, CpuTensor values, int[] starts) {
        run(call, () -> {
            if (size() == 1) {
                return;
            }
            int from = starts[rank()];
            int length = starts[rank() + 1] - from;
            TensorReduction.reduce(op, payloads(), from, values, from, length);
            for (int peer = 0; peer < size(); peer++) {
                if (peer != rank()) {
                    copy(values, from, group.call(peer).payload(), from, length);
                }
            }
        });
    }

    @Override
    void moveReduceScatter(CollectiveCall call, ReduceOp op, CpuTensor send, int[] starts, CpuTensor receive) {
        run(call, () -> TensorReduction.reduce(op, payloads(), starts[rank()], receive, 0, receive.size()));
    }

    @Override
    public boolean concurrent() {
        return true;
    }

    private CpuTensor[] payloads() {
        CpuTensor[] payloads = new CpuTensor[size()];
        for (int peer = 0; peer < size(); peer++) {
            payloads[peer] = group.call(peer).payload();
        }
        return payloads;
    }

    @Override
    void moveAllGather(CollectiveCall call, CpuTensor send, CpuTensor receive, int[] starts) {
        run(call, () -> {
            for (int peer = 0; peer < size(); peer++) {
                copy(group.call(peer).payload(), 0, receive, starts[peer], starts[peer + 1] - starts[peer]);
            }
        });
    }

    @Override
    void moveAllToAll(CollectiveCall call, CpuTensor send, int[] sendStarts, CpuTensor receive, int[] receiveStarts) {
        run(call, () -> {
            for (int peer = 0; peer < size(); peer++) {
                CollectiveCall theirs = group.call(peer);
                long[] theirCounts = theirs.sendCounts();
                if (theirCounts == null) {
                    throw new IllegalStateException("peer " + peer + " posted no counts");
                }
                int length = receiveStarts[peer + 1] - receiveStarts[peer];
                copy(theirs.payload(), starts(theirCounts)[rank()], receive, receiveStarts[peer], length);
            }
        });
    }

    @Override
    void moveBroadcast(CollectiveCall call, CpuTensor values) {
        run(call, () -> {
            if (rank() != call.root()) {
                copy(group.call(call.root()).payload(), 0, values, 0, values.size());
            }
        });
    }

    @Override
    void moveNothing(CollectiveCall call) {
        run(call, () -> {});
    }

    @Override
    void moveSend(CpuTensor values, int peer) {
        String what = "send(" + values + ") to member " + peer;
        group.traced(rank(), what, () -> group.send(rank(), peer, values));
    }

    @Override
    void moveReceive(CpuTensor values, int peer) {
        String what = "receive(" + values + ") from member " + peer;
        group.traced(rank(), what, () -> {
            Message message = group.receive(peer, rank(), () -> what);
            require(message.fits(values), message.misfit(values, peer));
            message.copyTo(values);
        });
    }

    @Override
    CommunicationException refuse(String problem) {
        return group.refuse(rank(), problem);
    }

    /** Meets the others, does this member's part, and waits until nobody needs anybody's memory any more. */
    private void run(CollectiveCall call, Runnable part) {
        group.traced(rank(), call.describe(), () -> {
            group.begin(rank(), call);
            try {
                part.run();
            } catch (RuntimeException | Error failure) {
                group.abort(group.describe(rank()) + ": " + call.describe() + " failed: " + failure);
                throw failure;
            }
            group.end(rank());
        });
    }
}
