package io.fourfold.kernels.comm;

import io.fourfold.kernels.cpu.CpuTensor;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/** What the members of one group share: a meeting point for collectives and mailboxes for messages. */
final class InProcessGroup {
    private final InProcessHub hub;
    private final String name;
    private final List<Integer> members;
    private final ReentrantLock lock;
    private final Condition changed;
    private final @Nullable CollectiveCall[] calls;
    private final boolean[] here;
    private final List<ArrayDeque<Message>> mailboxes = new ArrayList<>();
    private int arrived;
    private long meetings;

    InProcessGroup(InProcessHub hub, String name, List<Integer> members) {
        this.hub = hub;
        this.lock = hub.lock();
        this.changed = lock.newCondition();
        this.name = name;
        this.members = members;
        this.calls = new CollectiveCall[members.size()];
        this.here = new boolean[members.size()];
        for (int i = 0; i < members.size() * members.size(); i++) {
            mailboxes.add(new ArrayDeque<>());
        }
    }

    String name() {
        return name;
    }

    int size() {
        return members.size();
    }

    /** Notes an operation of a member while it runs; one that fails stays open. */
    void traced(int member, String what, Runnable operation) {
        CollectiveTrace trace = hub.trace(members.get(member));
        long number = trace.begin(name, what);
        operation.run();
        trace.end(number);
    }

    void throwIfAborted(int member) {
        hub.throwIfAborted(describe(member));
    }

    void abort(String reason) {
        hub.abort(reason, List.of());
    }

    /** Breaks the world because member's call cannot work, and says so. */
    CommunicationException refuse(int member, String problem) {
        String reason = describe(member) + ": " + problem;
        hub.abort(reason, List.of());
        return new CommunicationException(reason);
    }

    String describe(int member) {
        return "group '" + name + "' " + members + ", world rank " + members.get(member);
    }

    /** The call that a member posted for the operation under way. */
    CollectiveCall call(int member) {
        CollectiveCall call = calls[member];
        if (call == null) {
            throw new IllegalStateException("member " + member + " has posted no call");
        }
        return call;
    }

    /** Posts a call and waits until every member has posted a matching one. */
    void begin(int member, CollectiveCall call) {
        meet(member, call, call::describe);
    }

    /** Waits until every member has done its part of the operation begun last. */
    void end(int member) {
        CollectiveCall call = call(member);
        meet(member, null, () -> "the end of " + call.describe());
    }

    /** Called under the hub's lock. */
    void wakeAll() {
        changed.signalAll();
    }

    private void meet(int member, @Nullable CollectiveCall call, Supplier<String> what) {
        lock.lock();
        try {
            throwIfAborted(member);
            if (call != null) {
                calls[member] = call;
            }
            here[member] = true;
            arrived++;
            if (arrived < here.length) {
                long meeting = meetings;
                waitFor(member, () -> meetings != meeting, this::absent, what);
                return;
            }
            String mismatch = call == null ? null : findMismatch();
            if (mismatch != null) {
                throw refuse(member, mismatch);
            }
            arrived = 0;
            Arrays.fill(here, false);
            meetings++;
            changed.signalAll();
        } finally {
            lock.unlock();
        }
    }

    private @Nullable String findMismatch() {
        for (int b = 1; b < calls.length; b++) {
            for (int a = 0; a < b; a++) {
                String problem = CollectiveCall.mismatch(call(a), a, call(b), b);
                if (problem != null) {
                    return problem + ": world rank " + members.get(a) + " called "
                            + call(a).describe() + " but world rank " + members.get(b) + " called "
                            + call(b).describe();
                }
            }
        }
        return null;
    }

    /** World ranks that the current meeting still lacks. */
    private List<Integer> absent() {
        List<Integer> absent = new ArrayList<>();
        for (int i = 0; i < here.length; i++) {
            if (!here[i]) {
                absent.add(members.get(i));
            }
        }
        return absent;
    }

    /** Leaves a copy of the tensor for the receiver; does not wait. */
    void send(int from, int to, CpuTensor tensor) {
        throwIfAborted(from);
        Message message = Message.of(tensor);
        lock.lock();
        try {
            mailbox(from, to).addLast(message);
            changed.signalAll();
        } finally {
            lock.unlock();
        }
    }

    /** Takes the oldest message of a sender, waiting for one. */
    Message receive(int from, int to, Supplier<String> what) {
        lock.lock();
        try {
            throwIfAborted(to);
            ArrayDeque<Message> box = mailbox(from, to);
            int sender = members.get(from);
            waitFor(to, () -> !box.isEmpty(), () -> List.of(sender), what);
            return box.removeFirst();
        } finally {
            lock.unlock();
        }
    }

    private ArrayDeque<Message> mailbox(int from, int to) {
        return mailboxes.get(from * members.size() + to);
    }

    private CommunicationException timedOut(int member, String what, List<Integer> missing) {
        Lateness late = Lateness.of(hub.timeout(), what, members.get(member), missing, hub.activities());
        String reason = describe(member) + ": " + late.text();
        hub.abort(reason, late.ranks());
        return new CommunicationException(reason);
    }

    /**
     * Waits under the lock; breaks the world on an interrupt, a timeout, or when someone needed has left.
     *
     * @param missing world ranks that are waited for
     */
    private void waitFor(int member, BooleanSupplier done, Supplier<List<Integer>> missing, Supplier<String> what) {
        long nanos = hub.timeout().toNanos();
        while (!done.getAsBoolean()) {
            throwIfAborted(member);
            List<Integer> gone = missing.get().stream().filter(hub::hasLeft).toList();
            if (!gone.isEmpty()) {
                throw refuse(member, "waited in " + what.get() + " for world ranks " + gone + ", which have left");
            }
            if (nanos <= 0) {
                throw timedOut(member, what.get(), missing.get());
            }
            try {
                nanos = changed.awaitNanos(nanos);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                CommunicationException broken = refuse(member, "interrupted in " + what.get());
                broken.initCause(e);
                throw broken;
            }
        }
    }
}
