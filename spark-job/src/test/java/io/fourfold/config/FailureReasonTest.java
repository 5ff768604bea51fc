package io.fourfold.config;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import io.fourfold.data.DataException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.UnknownHostException;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class FailureReasonTest {
    @TempDir
    Path folder;

    @Test
    void whatIsMeantForPeopleHasNoJavaName() throws IOException {
        Path missing = folder.resolve("missing");
        assertThat(FailureReason.of(catchThrowable(() -> Files.readString(missing))))
                .isEqualTo("no such file or folder: " + missing);
        Path file = Files.createFile(folder.resolve("file"));
        assertThat(FailureReason.of(catchThrowable(() -> Files.createDirectories(file))))
                .isEqualTo(file + " is there already");
        assertThat(FailureReason.of(catchThrowable(() -> Files.createDirectories(file.resolve("below")))))
                .contains(file.toString())
                .doesNotContain("java.");
        assertThat(FailureReason.of(catchThrowable(() -> Files.list(file)))).isEqualTo(file + " is no folder");
        assertThat(FailureReason.of(new AccessDeniedException("/x"))).isEqualTo("no permission for /x");
        assertThat(FailureReason.of(new UncheckedIOException(new IOException("disk full"))))
                .isEqualTo("disk full");
        assertThat(FailureReason.of(new DataException("shard 3 is damaged"))).isEqualTo("shard 3 is damaged");
    }

    @Test
    void aNameThatSaysMoreThanTheMessageStays() {
        assertThat(FailureReason.of(new UnknownHostException("node7")))
                .isEqualTo("java.net.UnknownHostException: node7");
        assertThat(FailureReason.of(new NullPointerException())).isEqualTo("java.lang.NullPointerException");
        assertThat(FailureReason.of(new IOException())).isEqualTo("java.io.IOException");
    }
}
