package io.fourfold.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.atomic.AtomicIntegerArray;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** One GPU's streams and the flags of a board. */
@Tag("gpu")
@Timeout(20)
class CudaPeerBoardTest {
    @Test
    void streamsWaitForFlagsUntilTheyAreRaised() throws Exception {
        String reason = CudaDevice.unavailableBecause();
        Assumptions.assumeTrue(reason == null, reason);
        Assumptions.assumeTrue(Files.isDirectory(PeerBoard.FOLDER), "there is no " + PeerBoard.FOLDER);
        Path file = PeerBoard.FOLDER.resolve(
                "fourfold-test-" + ProcessHandle.current().pid());
        try (CudaBackend backend = new CudaBackend(0)) {
            PeerBoard.create(file, 2, 42);
            PeerBoard board = PeerBoard.open(file, 2, 42).register();
            Files.delete(file);
            CudaStream stream = backend.runtime().device().stream();
            try (StreamFlags flags = new StreamFlags()) {
                // What one stream writes another one may wait for, in one call or several.
                flags.write(board.ready(1, 0), 7);
                flags.await(board.ready(1, 0), 7);
                flags.await(board.ready(1, 0), 6);
                flags.queue(stream);
                stream.synchronize();

                flags.await(board.arrived(1, 0), 3);
                flags.queue(stream);
                Thread.sleep(50);
                assertThat(stream.idle()).isFalse();
                board.release(0, new AtomicIntegerArray(2), new AtomicIntegerArray(2));
                stream.synchronize();
                assertThat(stream.idle()).isTrue();
            }
            board.close();
        } finally {
            Files.deleteIfExists(file);
        }
    }
}
