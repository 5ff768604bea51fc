package io.fourfold.kernels.cuda;

import org.bytedeco.javacpp.Pointer;

/** Gives JavaCPP pointer objects addresses that come from elsewhere. */
final class Addresses {
    private static final class Settable extends Pointer {
        Settable(long address) {
            this.address = address;
        }
    }

    private Addresses() {}

    /** A typed view of an address; {@code empty} is a null pointer of the wanted class. */
    @SuppressWarnings("unchecked")
    static <P extends Pointer> P of(P empty, long address) {
        try {
            return (P) empty.getClass().getConstructor(Pointer.class).newInstance(new Settable(address));
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException("no pointer constructor in " + empty.getClass(), e);
        }
    }

    /** An untyped pointer. */
    static Pointer of(long address) {
        return new Settable(address);
    }
}
