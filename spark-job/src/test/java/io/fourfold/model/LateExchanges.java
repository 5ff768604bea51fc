package io.fourfold.model;

import io.fourfold.kernels.Backend;
import io.fourfold.kernels.comm.CommunicationWorld;
import io.fourfold.kernels.comm.Communicator;
import io.fourfold.kernels.comm.Pending;
import io.fourfold.kernels.comm.ReduceOp;
import io.fourfold.kernels.cpu.CpuTensor;
import io.fourfold.kernels.op.AttentionOps;
import io.fourfold.kernels.op.GemmOps;
import io.fourfold.kernels.tensor.Tensor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.util.Arrays;
import java.util.List;

/**
 * A world of CPU ranks whose started exchanges happen when they are awaited, the latest time there is; until then NaN lies
 * where they will write. With the usual world, where they are done when they are started, that is every order an overlap can
 * have. Both the exchanges and the products of a rank are written down in the order in which they come.
 */
final class LateExchanges {
    private LateExchanges() {}

    private interface Instead {
        /** What a method returns, or {@link #AS_IS}. */
        Object call(Method method, Object[] arguments);
    }

    private static final Object AS_IS = new Object();

    /** Appends {@code multiply}, {@code multiplyRows}, {@code attention forward} and so on to events. */
    static Backend backend(Backend backend, List<String> events) {
        GemmOps gemm = like(GemmOps.class, backend.gemm(), (method, arguments) -> {
            events.add(method.getName());
            return AS_IS;
        });
        AttentionOps attention = like(AttentionOps.class, backend.attention(), (method, arguments) -> {
            events.add("attention " + method.getName());
            return AS_IS;
        });
        return like(Backend.class, backend, (method, arguments) -> switch (method.getName()) {
            case "gemm" -> gemm;
            case "attention" -> attention;
            default -> AS_IS;
        });
    }

    /** Appends {@code start tp}, {@code await tp} and so on to events. */
    static CommunicationWorld world(CommunicationWorld world, List<String> events) {
        return like(
                CommunicationWorld.class,
                world,
                (method, arguments) -> method.getName().equals("group")
                        ? group((Communicator) call(world, method, arguments), events)
                        : AS_IS);
    }

    private static Communicator group(Communicator group, List<String> events) {
        return like(Communicator.class, group, (method, a) -> switch (method.getName()) {
            case "startAllToAllV" ->
                late(
                        group,
                        events,
                        (Tensor) a[2],
                        () -> group.allToAllV((Tensor) a[0], (long[]) a[1], (Tensor) a[2], (long[]) a[3]));
            case "startAllToOthersV" ->
                late(
                        group,
                        events,
                        (Tensor) a[2],
                        () -> allToOthers(group, (Tensor) a[0], (long[]) a[1], (Tensor) a[2], (long[]) a[3]));
            case "startAllGather" ->
                late(group, events, (Tensor) a[1], () -> group.allGather((Tensor) a[0], (Tensor) a[1]));
            case "startReduceScatter" ->
                late(
                        group,
                        events,
                        (Tensor) a[1],
                        () -> group.reduceScatter((Tensor) a[0], (Tensor) a[1], (ReduceOp) a[2]));
            default -> AS_IS;
        });
    }

    private static Pending late(Communicator group, List<String> events, Tensor receive, Runnable exchange) {
        events.add("start " + group.name());
        CpuTensor values = CpuTensor.of(receive);
        int from = values.offset();
        switch (values.dtype()) {
            case INT32 -> Arrays.fill(values.ints(), from, from + values.size(), Integer.MIN_VALUE);
            case FP32, BF16 -> Arrays.fill(values.floats(), from, from + values.size(), Float.NaN);
        }
        return Pending.once(() -> {
            events.add("await " + group.name());
            exchange.run();
        });
    }

    private static void allToOthers(Communicator group, Tensor send, long[] sent, Tensor receive, long[] received) {
        CpuTensor values = CpuTensor.of(receive);
        long begin = Arrays.stream(received, 0, group.rank()).sum();
        int from = Math.toIntExact(values.offset() + begin);
        float[] own = Arrays.copyOfRange(values.floats(), from, from + (int) received[group.rank()]);
        group.allToAllV(send, sent, receive, received);
        System.arraycopy(own, 0, values.floats(), from, own.length);
    }

    private static <T> T like(Class<T> type, T target, Instead instead) {
        return type.cast(
                Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[] {type}, (proxy, method, arguments) -> {
                    Object result = instead.call(method, arguments);
                    return result == AS_IS ? call(target, method, arguments) : result;
                }));
    }

    private static Object call(Object target, Method method, Object[] arguments) {
        try {
            return method.invoke(target, arguments);
        } catch (InvocationTargetException e) {
            if (e.getCause() instanceof RuntimeException failure) {
                throw failure;
            }
            throw new IllegalStateException(e.getCause());
        } catch (IllegalAccessException e) {
            throw new IllegalStateException(e);
        }
    }
}
