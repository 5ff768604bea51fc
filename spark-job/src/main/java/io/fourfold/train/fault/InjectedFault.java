package io.fourfold.train.fault;

/** A fault that the configuration asked for. */
public final class InjectedFault extends RuntimeException {
    private static final long serialVersionUID = 1;

    public InjectedFault(String message) {
        super(message);
    }
}
