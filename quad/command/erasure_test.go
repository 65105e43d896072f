package command

import (
	"testing"
	"time"

	"quadrille.internal/services/customer/wire"
)

func TestWhichErasuresAreLate(t *testing.T) {
	now := time.Now()
	list := []wire.Erasure{{Deadline: now.Add(time.Minute)}, {Deadline: now.Add(-time.Minute)}}
	if late := lateErasures(list, now); late != 1 {
		t.Errorf("%d are late, want 1", late)
	}
}
