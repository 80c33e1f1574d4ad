package doctor_test

import (
	"context"
	"fmt"

	"ultrasockets/mesh"
	"ultrasockets/mesh/doctor"
)

// A program whose node is alone asks why. Here another node was told another name of the mesh.
func Example() {
	ctx := context.Background()
	other, err := mesh.Join(ctx, mesh.Config{Name: "pc1", Mesh: "lab", Bind: "127.0.0.1", Listen: "127.0.0.1:0", NoMDNS: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer other.Close()
	report, err := doctor.Examine(ctx, doctor.Config{Bind: "127.0.0.1", NoMDNS: true, Seeds: []string{other.Addr().String()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range report.Findings {
		fmt.Println(f.Code)
		fmt.Println(f.Mend)
	}
	// Output:
	// mesh-name
	// Give all nodes the same --mesh.
}
