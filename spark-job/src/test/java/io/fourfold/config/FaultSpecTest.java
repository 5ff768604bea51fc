package io.fourfold.config;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class FaultSpecTest {
    @Test
    void readsWhatIsWrittenAndFillsInTheRest() {
        assertThat(FaultSpec.parse(" crash  rank=2 step=20 "))
                .isEqualTo(new FaultSpec("crash rank=2 step=20", FaultSpec.Kind.CRASH, 2, 20, 1, 1));
        FaultSpec slow = FaultSpec.parse("slow step=3 rank=0 seconds=0.5 times=2");
        assertThat(slow.seconds()).isEqualTo(0.5);
        assertThat(slow.times()).isEqualTo(2);
        assertThat(FaultSpec.parse("hang rank=1 step=5").seconds()).isInfinite();
        assertThat(FaultSpec.parse("driver_restart step=5").rank()).isZero();
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "burn rank=1 step=2 | 'burn' is no kind of fault; there are crash, hang",
                "crash rank=1 | step= is missing",
                "crash step=1 | rank= is missing",
                "crash rank=1 step=0 | step=0 is not a whole number of at least 1",
                "crash rank=1 step=2 step=3 | each given once",
                "crash rank=1 step=2 seconds=3 | seconds belongs to hang and slow",
                "hang rank=1 step=2 seconds=-1 | seconds=-1 is not a number above 0",
            })
    void saysWhatIsWrong(String text, String message) {
        assertThatThrownBy(() -> FaultSpec.parse(text))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining(message);
    }

    @Test
    void isCheckedWithTheConfiguration() {
        String yaml = ConfigLoaderTest.DENSE;
        List<String> sets = List.of("run.faults=[crash rank=1 step=2, crash rank=0 step=1, crash rank=0 step=1]");
        assertThatThrownBy(() -> ConfigLoader.parse("test", yaml, sets))
                .isInstanceOf(ConfigException.class)
                .hasMessageContaining(
                        "run.faults = crash rank=1 step=2: strikes a rank outside parallel.world_size (1)")
                .hasMessageContaining("run.faults = crash rank=0 step=1: is given twice")
                .hasMessageContaining("makes this run fail on purpose");
    }
}
