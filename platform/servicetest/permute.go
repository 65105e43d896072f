package servicetest

import "iter"

// Permutations yields 0 .. n-1 in every order. The slice is reused.
func Permutations(n int) iter.Seq[[]int] {
	return func(yield func([]int) bool) {
		p := make([]int, n)
		for i := range p {
			p[i] = i
		}
		permute(p, 0, yield)
	}
}

func permute(p []int, from int, yield func([]int) bool) bool {
	if from == len(p) {
		return yield(p)
	}
	for i := from; i < len(p); i++ {
		p[from], p[i] = p[i], p[from]
		more := permute(p, from+1, yield)
		p[from], p[i] = p[i], p[from]
		if !more {
			return false
		}
	}
	return true
}

// Redelivered yields 0 .. n-1 in every order, and in each of them with every one
// of the numbers once more, at every place behind its first. The slice is reused.
func Redelivered(n int) iter.Seq[[]int] {
	return func(yield func([]int) bool) {
		seq := make([]int, n+1)
		for p := range Permutations(n) {
			for first := range n {
				for second := first + 1; second <= n; second++ {
					copy(seq, p[:second])
					seq[second] = p[first]
					copy(seq[second+1:], p[second:])
					if !yield(seq) {
						return
					}
				}
			}
		}
	}
}
