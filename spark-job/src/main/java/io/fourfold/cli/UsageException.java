package io.fourfold.cli;

/** A command line that cannot be carried out as given. */
final class UsageException extends RuntimeException {
    private static final long serialVersionUID = 1;

    UsageException(String message) {
        super(message);
    }
}
