package io.fourfold.config;

import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import java.nio.file.NotDirectoryException;

/**
 * Why something failed, as part of a sentence. The Java name of an exception is left out where its message is meant for
 * people, or where the name alone says what happened and words can say it too; it stays where it may be all there is.
 */
public final class FailureReason {
    private FailureReason() {}

    /** One line or a few; never empty. */
    public static String of(Throwable failure) {
        if (failure instanceof UncheckedIOException unchecked && unchecked.getCause() != null) {
            return of(unchecked.getCause());
        } else if (failure instanceof FileSystemException file && file.getFile() != null) {
            return ofFile(file, file.getFile());
        }
        String message = failure.getMessage();
        boolean speaks = failure.getClass() == IOException.class
                || failure instanceof FileNotFoundException
                || failure.getClass().getName().startsWith("io.fourfold.");
        return speaks && message != null && !message.isBlank() ? message : failure.toString();
    }

    /** Java gives these the path for a message. */
    private static String ofFile(FileSystemException failure, String file) {
        if (failure instanceof NoSuchFileException) {
            return "no such file or folder: " + file;
        } else if (failure instanceof AccessDeniedException) {
            return "no permission for " + file;
        } else if (failure instanceof NotDirectoryException) {
            return file + " is no folder";
        } else if (failure instanceof FileAlreadyExistsException) {
            return file + " is there already";
        }
        return failure.getReason() == null ? failure.toString() : String.valueOf(failure.getMessage());
    }
}
