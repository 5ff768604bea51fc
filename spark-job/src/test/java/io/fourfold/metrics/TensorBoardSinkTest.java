package io.fourfold.metrics;

import static io.fourfold.metrics.SampleMetrics.CLOCK;
import static io.fourfold.metrics.SampleMetrics.facts;
import static io.fourfold.metrics.SampleMetrics.step;
import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import java.util.zip.CRC32C;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TensorBoardSinkTest {
    @TempDir
    Path folder;

    @Test
    void crcOfTheStandardTestVectorIsMasked() {
        byte[] digits = "123456789".getBytes(StandardCharsets.US_ASCII);
        int crc = 0xe3069283; // RFC 3720 appendix B.4 family: the CRC-32C check value
        assertThat(EventFile.maskedCrc(digits, 0, 9)).isEqualTo(((crc >>> 15) | (crc << 17)) + 0xa282ead8);
    }

    @Test
    void aReaderFindsVersionSessionStartAndScalars() throws IOException {
        try (TensorBoardSink sink = new TensorBoardSink(folder, CLOCK)) {
            sink.start(facts(), 5, 10);
            sink.step(step(5));
            sink.evaluation(new EvalMetrics(5, 2.0, 100, 1));
        }

        List<Event> events = read(onlyFile());

        assertThat(onlyFile().getFileName().toString()).startsWith("events.out.tfevents.1770091506.");
        assertThat(events)
                .hasSize(4)
                .allSatisfy(event -> assertThat(event.wallTime).isEqualTo(CLOCK.millis() / 1000.0));
        assertThat(events.get(0).version).isEqualTo("brain.Event:2");
        assertThat(events.get(1).sessionStatus).isEqualTo(1);
        assertThat(events.get(1).step).isEqualTo(5);
        assertThat(events.get(2).step).isEqualTo(5);
        assertThat(events.get(2).scalars)
                .containsEntry("train/loss", 1.0f)
                .containsEntry("train/lr", 3e-4f)
                .containsEntry("train/grad_norm", 1.5f)
                .containsEntry("throughput/tokens_per_second", 2048f)
                .containsEntry("moe/imbalance/layer_0", 1.6f)
                .containsEntry("moe/imbalance/layer_2", 1.0f)
                .containsEntry("fp4/underflow/expert_up.fprop.x", 0.05f)
                .containsEntry("fp4/saturated/expert_up.fprop.x", 0.003f)
                .containsKey("fp4/sqnr_db/expert_up.fprop.x")
                .doesNotContainKey("throughput/mfu");
        assertThat(events.get(3).scalars).containsEntry("eval/loss", 2.0f).containsEntry("eval/perplexity", (float)
                Math.exp(2.0));
    }

    @Test
    void aSecondStartWithinTheSameSecondTakesAnotherFile() throws IOException {
        for (int attempt = 0; attempt < 2; attempt++) {
            try (TensorBoardSink sink = new TensorBoardSink(folder, CLOCK)) {
                sink.start(facts(), 1, 10);
            }
        }
        try (Stream<Path> files = Files.list(folder)) {
            assertThat(files).hasSize(2);
        }
    }

    private Path onlyFile() throws IOException {
        try (Stream<Path> files = Files.list(folder)) {
            List<Path> found = files.toList();
            assertThat(found).hasSize(1);
            return found.get(0);
        }
    }

    /** One decoded event message. */
    private static final class Event {
        double wallTime;
        long step;
        String version = "";
        int sessionStatus;
        final Map<String, Float> scalars = new LinkedHashMap<>();
    }

    /** An independent reader of the frames and messages, with its own CRC arithmetic. */
    private static List<Event> read(Path file) throws IOException {
        ByteBuffer frames = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
        List<Event> events = new ArrayList<>();
        while (frames.hasRemaining()) {
            ByteBuffer header = frames.slice(frames.position(), 8).order(ByteOrder.LITTLE_ENDIAN);
            int length = (int) frames.getLong();
            checkCrc(header, frames.getInt());
            ByteBuffer payload = frames.slice(frames.position(), length).order(ByteOrder.LITTLE_ENDIAN);
            frames.position(frames.position() + length);
            checkCrc(payload.duplicate(), frames.getInt());
            events.add(event(payload));
        }
        return events;
    }

    private static void checkCrc(ByteBuffer bytes, int masked) {
        CRC32C crc = new CRC32C();
        crc.update(bytes.duplicate());
        long unmasked = (masked - 0xa282ead8) & 0xffffffffL;
        assertThat((unmasked >>> 17 | unmasked << 15) & 0xffffffffL).isEqualTo(crc.getValue());
    }

    private static Event event(ByteBuffer message) {
        Event event = new Event();
        while (message.hasRemaining()) {
            int key = (int) varint(message);
            switch (key >>> 3) {
                case 1 -> event.wallTime = message.getDouble();
                case 2 -> event.step = varint(message);
                case 3 -> event.version = text(message);
                case 5 -> summary(nested(message), event);
                case 7 -> {
                    ByteBuffer log = nested(message);
                    assertThat(varint(log)).isEqualTo(8);
                    event.sessionStatus = (int) varint(log);
                }
                default -> throw new AssertionError("unknown field " + (key >>> 3));
            }
        }
        return event;
    }

    private static void summary(ByteBuffer message, Event event) {
        while (message.hasRemaining()) {
            assertThat(varint(message)).isEqualTo(1 << 3 | 2);
            ByteBuffer value = nested(message);
            assertThat(varint(value)).isEqualTo(1 << 3 | 2);
            String tag = text(value);
            assertThat(varint(value)).isEqualTo(2 << 3 | 5);
            event.scalars.put(tag, value.getFloat());
            assertThat(value.hasRemaining()).isFalse();
        }
    }

    private static ByteBuffer nested(ByteBuffer message) {
        int length = (int) varint(message);
        ByteBuffer inner = message.slice(message.position(), length).order(ByteOrder.LITTLE_ENDIAN);
        message.position(message.position() + length);
        return inner;
    }

    private static String text(ByteBuffer message) {
        return StandardCharsets.UTF_8.decode(nested(message)).toString();
    }

    private static long varint(ByteBuffer message) {
        long value = 0;
        for (int shift = 0; ; shift += 7) {
            byte next = message.get();
            value |= (long) (next & 0x7f) << shift;
            if (next >= 0) {
                return value;
            }
        }
    }
}
