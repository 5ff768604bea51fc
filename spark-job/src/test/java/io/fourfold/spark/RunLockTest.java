package io.fourfold.spark;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.fourfold.train.TrainingException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

final class RunLockTest {
    @TempDir
    Path dir;

    @Test
    void aSecondDriverIsRefusedAndTheFirstNamed() {
        Path run = dir.resolve("run");
        try (RunLock held = RunLock.acquire(run)) {
            assertThat(held).isNotNull();
            assertThatThrownBy(() -> RunLock.acquire(run))
                    .isInstanceOf(TrainingException.class)
                    .hasMessageContaining("TRAIN_SETUP")
                    .hasMessageContaining("process " + ProcessHandle.current().pid())
                    .hasMessageContaining("another run.dir");
        }
    }

    @Test
    void aReleasedLockCanBeTakenAgain() {
        RunLock.acquire(dir).close();
        RunLock.acquire(dir).close();
        assertThat(Files.exists(dir.resolve(RunLock.FILE))).isTrue();
    }
}
