package io.fourfold.data.shard;

import io.fourfold.data.DataException;
import java.io.IOException;
import java.nio.ByteOrder;
import java.nio.IntBuffer;
import java.nio.MappedByteBuffer;
import java.nio.ShortBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/**
 * A shard mapped into memory: nothing is read until a token is asked for, and the page cache is shared by all readers of
 * a machine. Safe for concurrent use. The mapping goes away with the garbage collector.
 */
public final class MappedShard {
    /** The end of every message about an unusable shard. */
    static final String REPAIR =
            " Run 'fourfold prepare' again with the same configuration: it finds and rewrites damaged or missing shards"
                    + " and keeps the others.";

    private final int documents;
    private final int tokens;
    private final IntBuffer offsets;
    private final IntBuffer wide;
    private final ShortBuffer narrow;

    private MappedShard(MappedByteBuffer file, ArrowShardFormat.Location location) {
        this.documents = location.documents();
        this.tokens = location.tokens();
        this.offsets = file.slice(location.offsetsStart(), (documents + 1) * Integer.BYTES)
                .order(ByteOrder.LITTLE_ENDIAN)
                .asIntBuffer();
        boolean isWide = location.type() == TokenType.INT32;
        var values = file.slice(location.valuesStart(), tokens * location.type().bytes())
                .order(ByteOrder.LITTLE_ENDIAN);
        this.wide = isWide ? values.asIntBuffer() : IntBuffer.allocate(0);
        this.narrow = isWide ? ShortBuffer.allocate(0) : values.asShortBuffer();
    }

    /**
     * Maps a shard and checks it against its manifest entry.
     *
     * @param verifyChecksum also compare the CRC-32C, which reads the file once
     * @throws DataException naming the file, what is wrong with it and what to do
     */
    public static MappedShard open(Path folder, ShardInfo info, boolean verifyChecksum) {
        Path file = folder.resolve(info.file());
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
            if (channel.size() != info.bytes()) {
                throw new DataException("Shard " + file + " is damaged: it has " + channel.size()
                        + " bytes, the manifest says " + info.bytes() + "." + REPAIR);
            }
            MappedByteBuffer mapped = channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size());
            if (verifyChecksum) {
                String actual = Checksums.crc32c(mapped);
                if (!actual.equals(info.crc32c())) {
                    throw new DataException("Shard " + file + " is damaged: CRC-32C expected " + info.crc32c()
                            + ", actual " + actual + "." + REPAIR);
                }
            }
            return new MappedShard(mapped, locate(file, mapped, info));
        } catch (NoSuchFileException e) {
            throw new DataException("Shard " + file + " is missing." + REPAIR, e);
        } catch (IOException e) {
            throw new DataException("Cannot read shard " + file + ": " + e.getMessage() + "." + REPAIR, e);
        }
    }

    private static ArrowShardFormat.Location locate(Path file, MappedByteBuffer mapped, ShardInfo info) {
        ArrowShardFormat.Location location;
        try {
            location = ArrowShardFormat.locate(mapped);
        } catch (DataException e) {
            throw new DataException("Shard " + file + " is damaged: " + e.getMessage() + "." + REPAIR, e);
        }
        if (location.tokens() != info.tokens() || location.documents() != info.documents()) {
            throw new DataException("Shard " + file + " has " + location.tokens() + " tokens in " + location.documents()
                    + " documents, the manifest says " + info.tokens() + " in " + info.documents() + "." + REPAIR);
        }
        return location;
    }

    public int documents() {
        return documents;
    }

    public int tokens() {
        return tokens;
    }

    /** Position of the first token of {@code document}; of {@link #documents()}: the number of tokens. */
    public int documentOffset(int document) {
        return offsets.get(document);
    }

    /** The document that holds token {@code position}. */
    public int documentAt(int position) {
        int low = 0;
        int high = documents - 1;
        while (low < high) {
            int middle = (low + high + 1) >>> 1;
            if (offsets.get(middle) <= position) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        return low;
    }

    /** Copies tokens {@code [from, from + count)} into {@code target} at {@code at}. */
    public void copyTokens(int from, int count, int[] target, int at) {
        if (wide.capacity() > 0) {
            wide.get(from, target, at, count);
            return;
        }
        for (int i = 0; i < count; i++) {
            target[at + i] = Short.toUnsignedInt(narrow.get(from + i));
        }
    }
}
