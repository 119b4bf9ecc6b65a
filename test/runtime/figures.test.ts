import { describe, expect, it } from 'vitest';
import { environment, parseIsa, physicalCores } from '../../src/runtime/environment.ts';
import { availableMemory, ownMemory, parseProcStatus } from '../../src/runtime/memory.ts';
import { timingStatistics } from '../../src/runtime/session.ts';
import { coefficientOfVariation, median, percentile, robustVariation } from '../../src/runtime/statistics.ts';
import { summarize } from '../../src/runtime/summary.ts';

describe('percentile', () => {
  it('interpolates as numpy.percentile does', () => {
    const values = [15, 20, 35, 40, 50];
    expect(percentile(values, 0)).toBe(15);
    expect(percentile(values, 0.4)).toBeCloseTo(29, 12);
    expect(percentile(values, 0.95)).toBeCloseTo(48, 12);
    expect(percentile(values, 1)).toBe(50);
    expect(percentile([7], 0.99)).toBe(7);
    expect(percentile([], 0.5)).toBeNaN();
  });

  it('does not mind the order and does not change it', () => {
    const values = [3, 1, 2];
    expect(median(values)).toBe(2);
    expect(values).toEqual([3, 1, 2]);
  });
});

describe('variation', () => {
  it('is the standard deviation over the mean', () => {
    expect(coefficientOfVariation([2, 4, 4, 4, 5, 5, 7, 9])).toBeCloseTo(2.138089935 / 5, 8);
    expect(coefficientOfVariation([5])).toBe(0);
  });

  it('is robust where it says so', () => {
    const calm = Array.from({ length: 99 }, (_, i) => 10 + (i % 3));
    expect(robustVariation([...calm, 1e6])).toBeCloseTo(robustVariation(calm), 2);
    expect(coefficientOfVariation([...calm, 1e6])).toBeGreaterThan(5);
  });

  it('stands in a timing with its percentiles', () => {
    const runs = Array.from({ length: 101 }, (_, i) => i);
    expect(timingStatistics(runs)).toMatchObject({ p50: 50, p90: 90, p95: 95, p99: 99, mean: 50 });
  });
});

describe('summarize', () => {
  it('counts what is not finite and finds the range of the rest', () => {
    const data = Float32Array.of(1, Number.NaN, -3, Number.POSITIVE_INFINITY, 2, Number.NEGATIVE_INFINITY);
    expect(summarize('float32', data)).toEqual({ notANumber: 1, infinite: 2, min: -3, max: 2 });
    expect(summarize('float64', Float64Array.from(data))).toEqual({ notANumber: 1, infinite: 2, min: -3, max: 2 });
    expect(summarize('float16', Uint16Array.of(0x3c00, 0x7e00, 0xfc00))).toEqual({
      notANumber: 1,
      infinite: 1,
      min: 1,
      max: 1,
    });
    expect(summarize('int64', BigInt64Array.of(5n, -2n))).toEqual({ notANumber: 0, infinite: 0, min: -2, max: 5 });
    expect(summarize('float32', Float32Array.of(Number.NaN))).toEqual({ notANumber: 1, infinite: 0, min: 0, max: 0 });
  });
});

describe('memory', () => {
  it('is read from /proc in bytes', () => {
    expect(parseProcStatus('Name:\tnode\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n')).toEqual({
      residentBytes: 2 ** 20,
      peakBytes: 2 ** 21,
    });
    expect(() => parseProcStatus('Name:\tnode\n')).toThrow('VmRSS');
  });

  it('of this process is plausible', () => {
    const { residentBytes, peakBytes } = ownMemory();
    expect(residentBytes).toBeGreaterThan(20e6);
    expect(peakBytes).toBeGreaterThanOrEqual(residentBytes * 0.9);
  });

  it('that is available is that of the control group where it has less', () => {
    const files: Record<string, string> = {
      '/proc/meminfo': 'MemTotal: 9 kB\nMemAvailable:    8000000 kB\n',
      '/sys/fs/cgroup/memory.max': '2000000000\n',
      '/sys/fs/cgroup/memory.current': '500000000\n',
    };
    expect(availableMemory((file) => files[file])).toBe(1.5e9);
    files['/sys/fs/cgroup/memory.max'] = 'max\n';
    expect(availableMemory((file) => files[file])).toBe(8_192_000_000);
    expect(availableMemory(() => undefined)).toBeGreaterThan(0);
  });
});

describe('the environment', () => {
  const x86 = ['0', '0', '1', '1']
    .map(
      (core, index) =>
        `processor : ${index}\nmodel name : Test CPU\nphysical id : 0\ncore id : ${core}\nflags : fpu sse4_2 avx2 avx512_vnni sha_ni\n`,
    )
    .join('\n')
    .replaceAll(' : ', '\t: ');

  it('names the instruction sets that matter', () => {
    expect(parseIsa(x86)).toEqual(['sse4_2', 'avx2', 'avx512_vnni', 'sha_ni']);
    expect(parseIsa('processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\n')).toEqual(['asimd', 'asimddp', 'i8mm']);
    expect(parseIsa('')).toEqual([]);
  });

  it('counts cores that are no threads of another', () => {
    expect(physicalCores(x86)).toBeLessThanOrEqual(2);
    expect(physicalCores('')).toBeGreaterThan(0);
  });

  it('of this machine is whole', () => {
    const machine = environment();
    expect(machine).toMatchObject({ arch: process.arch, node: process.version });
    expect(machine.cpu).not.toBe('');
    expect(machine.physicalCores).toBeLessThanOrEqual(machine.cores);
    const governed = environment((file) => (file.endsWith('scaling_governor') ? 'powersave\n' : undefined));
    expect(governed.governor).toBe('powersave');
  });
});
