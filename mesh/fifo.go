package mesh

// fifo is a queue that keeps its memory while it is in use. Not safe for concurrent use.
type fifo[T any] struct {
	items []T
	head  int // items[:head] have been popped
}

// keepEmpty is how many places an empty queue keeps.
const keepEmpty = 1024

func (q *fifo[T]) len() int { return len(q.items) - q.head }

// at is the i-th, 0 the oldest; valid until the next push or pop.
func (q *fifo[T]) at(i int) *T { return &q.items[q.head+i] }

// all are all of them, oldest first; valid until the next push or pop.
func (q *fifo[T]) all() []T { return q.items[q.head:] }

func (q *fifo[T]) push(v T) {
	if len(q.items) == cap(q.items) && q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, v)
}

// pop takes the oldest; there must be one.
func (q *fifo[T]) pop() T {
	var none T
	v := q.items[q.head]
	q.items[q.head] = none
	q.head++
	q.shrink()
	return v
}

// putBack puts what was popped last in front again, in the order in which it was popped.
func (q *fifo[T]) putBack(list []T) {
	if q.head < len(list) {
		q.items, q.head = append(make([]T, len(list), len(list)+q.len()), q.all()...), len(list)
	}
	q.head -= len(list)
	copy(q.items[q.head:], list)
}

// remove takes the i-th out.
func (q *fifo[T]) remove(i int) T {
	var none T
	list := q.all()
	v := list[i]
	copy(list[i:], list[i+1:])
	list[len(list)-1] = none
	q.items = q.items[:len(q.items)-1]
	q.shrink()
	return v
}

func (q *fifo[T]) shrink() {
	if q.head < len(q.items) {
		return
	}
	q.items, q.head = q.items[:0], 0
	if cap(q.items) > keepEmpty {
		q.items = nil
	}
}
