package trace

import "testing"

func TestMonotonicOffset(t *testing.T) {
	for text, want := range map[string]int64{
		"monotonic           0         0\nboottime            0         0\n": 0,
		"monotonic      100000         5\nboottime            0         0\n": 100000*1e9 + 5,
		"monotonic         -10 999999999\nboottime          -10 999999999\n": -10*1e9 + 999999999,
		"1 7 0\n7 0 0\n": 7e9,
	} {
		if got, err := monotonicOffset(text); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "monotonic", "monotonic x 0", "monotonic 0 x", "boottime 1 1\n"} {
		if got, err := monotonicOffset(text); err == nil {
			t.Errorf("%q: %d", text, got)
		}
	}
}
