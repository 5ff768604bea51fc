package io.fourfold.kernels.comm;

import io.fourfold.kernels.cpu.CpuTensor;
import io.fourfold.kernels.tensor.DType;
import io.fourfold.kernels.tensor.Shape;

/** A copy of what was sent from one member to another, until it is received. */
record Message(CpuTensor values) {
    static Message of(CpuTensor tensor) {
        Message message = empty(tensor.dtype(), tensor.size());
        CpuCommunicator.copy(tensor, 0, message.values, 0, tensor.size());
        return message;
    }

    /** Room for a message that is still to come. */
    static Message empty(DType dtype, int length) {
        Shape shape = Shape.of(length);
        return new Message(
                dtype == DType.INT32
                        ? CpuTensor.ofInts(new int[length], shape)
                        : CpuTensor.ofFloats(dtype, new float[length], shape));
    }

    boolean fits(CpuTensor receiver) {
        return values.dtype() == receiver.dtype() && values.size() == receiver.size();
    }

    String misfit(CpuTensor receiver, int sender) {
        return "receives " + receiver + ", but member " + sender + " sent " + values;
    }

    void copyTo(CpuTensor receiver) {
        CpuCommunicator.copy(values, 0, receiver, 0, receiver.size());
    }
}
