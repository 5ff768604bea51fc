package io.fourfold;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;

import com.tngtech.archunit.core.importer.ImportOption;
import com.tngtech.archunit.junit.AnalyzeClasses;
import com.tngtech.archunit.junit.ArchTest;
import com.tngtech.archunit.lang.ArchRule;

/** The dependency direction of docs/architecture.md: cli, spark, train, the parts of training, data and kernels. */
@AnalyzeClasses(packages = "io.fourfold", importOptions = ImportOption.DoNotIncludeTests.class)
class ArchitectureTest {
    private static final String[] SPARK = {"org.apache.spark..", "scala..", "org.apache.hadoop.."};
    private static final String[] DEVICE = {"jcuda..", "org.bytedeco.."};

    @ArchTest
    static final ArchRule SPARK_AND_HADOOP_STAY_IN_THE_SPARK_PACKAGES = noClasses()
            .that()
            .resideOutsideOfPackages("io.fourfold.spark..", "io.fourfold.cli..")
            .should()
            .dependOnClassesThat()
            .resideInAnyPackage(SPARK)
            .because("everything below the launch runs as plain Java");

    @ArchTest
    static final ArchRule DEVICE_LIBRARIES_STAY_IN_THE_BACKENDS = noClasses()
            .that()
            .resideOutsideOfPackages(
                    "io.fourfold.kernels.cuda..", "io.fourfold.kernels.cpu..", "io.fourfold.kernels.comm..")
            .should()
            .dependOnClassesThat()
            .resideInAnyPackage(DEVICE);

    @ArchTest
    static final ArchRule CONFIG_KNOWS_ONLY_THE_OPERATIONS_VOCABULARY = classes()
            .that()
            .resideInAPackage("io.fourfold.config")
            .should()
            .onlyDependOnClassesThat()
            .resideInAnyPackage(
                    "io.fourfold.config", "io.fourfold.kernels.op", "java..", "org.yaml..", "org.jspecify..");

    @ArchTest
    static final ArchRule PLAN_COMPUTES_FROM_THE_CONFIGURATION = noClasses()
            .that()
            .resideInAPackage("io.fourfold.plan")
            .should()
            .dependOnClassesThat()
            .resideInAnyPackage(
                    "io.fourfold.train..", "io.fourfold.spark..", "io.fourfold.cli..", "io.fourfold.kernels.cpu..");

    @ArchTest
    static final ArchRule ONLY_THE_COMMAND_LINE_KNOWS_THE_COMMAND_LINE = noClasses()
            .that()
            .resideOutsideOfPackages("io.fourfold.cli..", "io.fourfold.report..")
            .should()
            .dependOnClassesThat()
            .resideInAnyPackage("io.fourfold.cli..", "picocli..");

    @ArchTest
    static final ArchRule ONLY_SPARK_AND_THE_COMMAND_LINE_KNOW_SPARK_JOBS = noClasses()
            .that()
            .resideOutsideOfPackages("io.fourfold.spark..", "io.fourfold.cli..")
            .should()
            .dependOnClassesThat()
            .resideInAPackage("io.fourfold.spark..");

    @ArchTest
    static final ArchRule PARTS_OF_TRAINING_DO_NOT_KNOW_THE_TRAINER = noClasses()
            .that()
            .resideInAnyPackage(
                    "io.fourfold.model..",
                    "io.fourfold.moe..",
                    "io.fourfold.precision..",
                    "io.fourfold.parallel..",
                    "io.fourfold.optim..",
                    "io.fourfold.checkpoint..",
                    "io.fourfold.eval..",
                    "io.fourfold.metrics..",
                    "io.fourfold.hf..",
                    "io.fourfold.report..")
            .should()
            .dependOnClassesThat()
            .resideInAPackage("io.fourfold.train..");

    @ArchTest
    static final ArchRule KERNELS_AND_DATA_KNOW_NOTHING_ABOVE_THEM = noClasses()
            .that()
            .resideInAnyPackage("io.fourfold.kernels..", "io.fourfold.data..")
            .should()
            .dependOnClassesThat()
            .resideInAnyPackage(
                    "io.fourfold.config..",
                    "io.fourfold.model..",
                    "io.fourfold.train..",
                    "io.fourfold.spark..",
                    "io.fourfold.cli..");

    @ArchTest
    static final ArchRule THE_TRAINER_ASKS_THE_BACKEND_INTERFACE = noClasses()
            .that()
            .resideInAnyPackage(
                    "io.fourfold.train..", "io.fourfold.model..", "io.fourfold.moe..", "io.fourfold.optim..")
            .should()
            .dependOnClassesThat()
            .resideInAnyPackage("io.fourfold.kernels.cpu..", "io.fourfold.kernels.cuda..");

    @ArchTest
    static final ArchRule PACKAGES_ARE_FREE_OF_CYCLES =
            slices().matching("io.fourfold.(*)..").should().beFreeOfCycles();
}
