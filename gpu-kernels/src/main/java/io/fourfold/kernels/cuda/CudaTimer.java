package io.fourfold.kernels.cuda;

import jcuda.driver.CUevent;
import jcuda.driver.CUevent_flags;
import jcuda.driver.JCudaDriver;

/** Times GPU work by events on the device's stream, so that launches are counted only where they hold the GPU up. */
public final class CudaTimer {
    private final CudaDevice device;

    public CudaTimer(CudaDevice device) {
        this.device = device;
    }

    /** Times in milliseconds of {@code runs} runs of {@code work}, in order. */
    public double[] milliseconds(int runs, Runnable work) {
        CUevent[] marks = new CUevent[runs + 1];
        for (int i = 0; i <= runs; i++) {
            marks[i] = new CUevent();
            CudaDevice.check(JCudaDriver.cuEventCreate(marks[i], CUevent_flags.CU_EVENT_DEFAULT), "cuEventCreate");
        }
        device.stream().synchronize();
        record(marks[0]);
        for (int i = 0; i < runs; i++) {
            work.run();
            record(marks[i + 1]);
        }
        device.stream().synchronize();
        double[] times = new double[runs];
        float[] time = new float[1];
        for (int i = 0; i < runs; i++) {
            CudaDevice.check(JCudaDriver.cuEventElapsedTime(time, marks[i], marks[i + 1]), "cuEventElapsedTime");
            times[i] = time[0];
        }
        for (CUevent mark : marks) {
            CudaDevice.check(JCudaDriver.cuEventDestroy(mark), "cuEventDestroy");
        }
        return times;
    }

    private void record(CUevent event) {
        CudaDevice.check(JCudaDriver.cuEventRecord(event, device.stream().jcuda()), "cuEventRecord");
    }
}
