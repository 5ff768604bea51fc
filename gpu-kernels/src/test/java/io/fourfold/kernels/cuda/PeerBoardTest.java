package io.fourfold.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Letters between hosts; flags are the GPUs' and tested there. */
class PeerBoardTest {
    private static final int SIZE = 3;
    private static final long NONCE = 0x1234_5678_9abc_def0L;

    @TempDir
    Path folder;

    private PeerBoard open() throws IOException {
        return PeerBoard.open(folder.resolve("board"), SIZE, NONCE);
    }

    private static PeerMemory.Place place(int sender, int receiver, int number) {
        Random random = new Random(sender * 1_000_003L + receiver * 1009L + number);
        byte[] handle = new byte[PeerBoard.HANDLE_BYTES];
        random.nextBytes(handle);
        return new PeerMemory.Place(random.nextLong(), random.nextLong(), handle);
    }

    private static void assertSame(PeerMemory.Place actual, PeerMemory.Place expected) {
        assertThat(actual.base()).isEqualTo(expected.base());
        assertThat(actual.offset()).isEqualTo(expected.offset());
        assertThat(actual.handle()).isEqualTo(expected.handle());
    }

    @Test
    void lettersArriveWholeAndInOrderBetweenAllPairs() throws Exception {
        PeerBoard.create(folder.resolve("board"), SIZE, NONCE);
        PeerBoard here = open();
        PeerBoard there = open();
        for (int number = 1; number <= 3 * PeerBoard.LETTERS; number++) {
            for (int sender = 0; sender < SIZE; sender++) {
                for (int receiver = 0; receiver < SIZE; receiver++) {
                    assertThat(there.posted(sender, receiver, number)).isFalse();
                    here.post(sender, receiver, number, place(sender, receiver, number));
                }
            }
            for (int sender = 0; sender < SIZE; sender++) {
                for (int receiver = 0; receiver < SIZE; receiver++) {
                    assertThat(there.posted(sender, receiver, number)).isTrue();
                    assertThat(here.taken(sender, receiver)).isEqualTo(number - 1);
                    assertSame(there.take(sender, receiver, number), place(sender, receiver, number));
                    assertThat(here.taken(sender, receiver)).isEqualTo(number);
                }
            }
        }
    }

    /** A receiver may be as many letters ahead as there is room for; numbers go around. */
    @Test
    @Timeout(20)
    void threadsExchangeManyLetters() throws Exception {
        PeerBoard.create(folder.resolve("board"), SIZE, NONCE);
        int letters = 20_000;
        int first = Integer.MAX_VALUE - letters / 2;
        PeerBoard receiver = open();
        PeerBoard sender = open();
        Thread posting = new Thread(() -> {
            for (int i = 0; i < letters; i++) {
                int number = first + i;
                while (i >= PeerBoard.LETTERS && number - receiver.taken(0, 1) > PeerBoard.LETTERS) {
                    Thread.onSpinWait();
                }
                receiver.post(0, 1, number, place(0, 1, number));
            }
        });
        posting.start();
        for (int i = 0; i < letters; i++) {
            while (!sender.posted(0, 1, first + i)) {
                Thread.onSpinWait();
            }
            assertSame(sender.take(0, 1, first + i), place(0, 1, first + i));
        }
        posting.join();
    }

    @Test
    void anotherGroupsFileIsRefused() throws Exception {
        Path file = folder.resolve("board");
        assertThatThrownBy(this::open).isInstanceOf(IOException.class);
        PeerBoard.create(file, SIZE, NONCE + 1);
        assertThatThrownBy(this::open).isInstanceOf(IOException.class).hasMessageContaining("another group's");
        assertThatThrownBy(() -> PeerBoard.create(file, SIZE, NONCE)).isInstanceOf(IOException.class);
        Files.write(file, new byte[16]);
        assertThatThrownBy(this::open).isInstanceOf(IOException.class).hasMessageContaining("too short");
    }
}
