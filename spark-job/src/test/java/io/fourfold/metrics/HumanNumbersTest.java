package io.fourfold.metrics;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class HumanNumbersTest {
    @ParameterizedTest
    @CsvSource({"0,0", "7,7", "999,999", "999.6,1k", "12345,12.3k", "7.2e9,7.2B", "-1500,-1.5k", "2e15,2000T"})
    void compact(double value, String text) {
        assertThat(HumanNumbers.compact(value)).isEqualTo(text);
    }

    @ParameterizedTest
    @CsvSource({"0.25,0.25 s", "12.34,12.3 s", "59.97,1m 00s", "245,4m 05s", "10920,3h 02m", "190800,2d 05h"})
    void duration(double seconds, String text) {
        assertThat(HumanNumbers.duration(seconds)).isEqualTo(text);
    }

    @ParameterizedTest
    @CsvSource({"0,0 B", "1536,1.5 KiB", "1023.9,1 KiB", "3221225472,3 GiB"})
    void bytes(double value, String text) {
        assertThat(HumanNumbers.bytes(value)).isEqualTo(text);
    }

    @Test
    void theRest() {
        assertThat(HumanNumbers.grouped(1234567)).isEqualTo("1,234,567");
        assertThat(HumanNumbers.percent(0.01234)).isEqualTo("1.23%");
        assertThat(HumanNumbers.measure(0.00001234)).isEqualTo("1.234e-05");
        assertThat(HumanNumbers.measure(2.5)).isEqualTo("2.5000");
        assertThat(HumanNumbers.measure(Double.NaN)).isEqualTo("NaN");
        assertThat(HumanNumbers.scientific(3e-4)).isEqualTo("3.00e-04");
        assertThat(HumanNumbers.flops(1.5e12)).isEqualTo("1.5 TFLOP/s");
        assertThat(HumanNumbers.significant(100, 3)).isEqualTo("100");
        assertThat(HumanNumbers.significant(0.05, 3)).isEqualTo("0.05");
    }

    @Test
    void operandNames() {
        OperandName name = OperandName.parse("layers.12.expert_up.fprop.x");
        assertThat(name.layer()).hasValue(12);
        assertThat(name.operand()).isEqualTo("expert_up.fprop.x");
        assertThat(OperandName.parse("head.fprop.x").layer()).isEmpty();
        assertThat(OperandName.parse("layers.x.y").layer()).isEmpty();
        assertThat(OperandName.parse("layers.3").layer()).isEmpty();
    }

    @Test
    void oneOfAKindIsSingular() {
        assertThat(HumanNumbers.counted(1, "file")).isEqualTo("1 file");
        assertThat(HumanNumbers.counted(0, "file")).isEqualTo("0 files");
        assertThat(HumanNumbers.counted(1200, "file")).isEqualTo("1,200 files");
    }
}
