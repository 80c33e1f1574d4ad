package file_test

func beChild() bool { return false }
