package io.fourfold.data.shard;

import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.util.HexFormat;
import java.util.zip.CRC32C;

/** CRC-32C as manifests write it: eight hexadecimal digits. */
public final class Checksums {
    private Checksums() {}

    /** Of the remaining bytes; the buffer's position does not move. */
    public static String crc32c(ByteBuffer bytes) {
        CRC32C checksum = new CRC32C();
        checksum.update(bytes.duplicate());
        return hex(checksum);
    }

    /** Of everything left in {@code in}. */
    public static String crc32c(InputStream in) throws IOException {
        CRC32C checksum = new CRC32C();
        byte[] chunk = new byte[1 << 16];
        for (int read = in.read(chunk); read >= 0; read = in.read(chunk)) {
            checksum.update(chunk, 0, read);
        }
        return hex(checksum);
    }

    static String hex(CRC32C checksum) {
        return HexFormat.of().toHexDigits((int) checksum.getValue());
    }
}
