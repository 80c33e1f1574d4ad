// Package file copies files and folders between nodes of a mesh, by name, over the mesh's own requests. A copy that
// was interrupted goes on where it was, whichever side, or the relay between them, had gone; its content is verified at
// the end; nothing half written ever stands under a final name; and nothing is overwritten that was not to be.
//
//	server, err := file.Serve(node, "/srv/share", file.ServeOptions{})   // on "nas": others may put and get there
//	defer server.Close()
//
//	_, err = file.Put(ctx, node, "video.mp4", "nas", "films/video.mp4", file.Options{})
//	_, err = file.Get(ctx, node, "nas", "films", "films", file.Options{})  // a whole folder
//
// # What a server lets others do
//
// Paths are relative to the folder that is served, with slashes between their parts. Nothing outside it is read or
// written: neither by "..", nor by an absolute path, a drive or the name of a device, nor through a symbolic link
// ([os.Root]). What is no regular file or folder is not served.
//
// A file that is being written is a hidden one beside its final name, ".NAME.ultra-part", until all of it has come, its
// SHA-256 is the sender's, and it is on the disk; then it is renamed. What an interruption leaves of it is where the next
// copy to that name goes on, if its content is how the file begins that is copied; else it is overwritten. Remove it to
// forget it. It is locked while it is written; a second copy to the same name waits for the first.
//
// # The protocol, version 1
//
// For other languages. All are requests (codec/WIRE.md) of the kind "ultra.file/1": their value is the map
// {"kind": "ultra.file/1", "value": request}. Request and reply are byte strings: one CBOR item, and right behind it the
// data, if there is any.
//
//	request  [verb, {arguments}] data
//	reply    [code, {answer}] data         code is "ok", or says why not; the answer's "text" then says it to people
//
// Sizes and offsets count bytes, "time" is the time of modification in nanoseconds since 1970 UTC, "mode" holds the nine
// permission bits and is left out where there are none, "sum" is a SHA-256. What is zero, false or empty is left out.
//
//	stat    {path}                                 -> {kind, size, time, mode}     kind: file, folder, link or other
//	list    {path, after}                          -> {entries: [{name, kind, size, time, mode}], more}
//	        a folder's entries by name, those behind "after"; links are not followed; "more": ask again
//	folder  {path, mode}                           -> {}                           makes a folder, and those above it
//	put     {path, size, token, force, compared, fresh, once, mode}
//	                                               -> {id, have, sum, window} or {exists, have, sum}
//	        begins to write a file. The receiver has "have" bytes of an earlier try, whose sum is "sum": go on there if they
//	        are yours, else ask again with "fresh". "exists": the final name holds as many bytes as yours, of that sum; if it
//	        is not yours, ask again with "compared" (it is refused with "exists" unless there is "force").
//	        "once": size is not known and nothing of it is kept. "token": 8 random bytes, by which the same copy is known
//	        again when it comes back.
//	write   {id, offset} data                      -> {}                           in order, several may be under way
//	finish  {id, size, sum, time, mode}            -> {}                           verifies, syncs and renames
//	get     {path, offset, sum}                    -> {id, size, time, mode, have, window}
//	        begins to read a file, after the first "offset" bytes if their sum is "sum"; "have" tells: that, or 0
//	read    {id, offset, length}                   -> {} data                      in order, several may be under way
//	end     {id}                                   -> {size, sum}                  of all that was read; "changed" if the file did
//	stay    {id}                                   -> {}                           what is not heard of for 30 s is forgotten
//	drop    {id}                                   -> {}                           ends a copy; what is there of it stays
//
// An id belongs to the node that was given it. "window" is how many writes or reads may be under way: more only wait.
// Data is at most 1 MiB. Codes: missing, exists, folder (it is one, or is none), path (it is not one that is served),
// busy (another copy to that name, or too many; try again), gone (the id is not known; begin again), changed, sum (what
// came is not what was sent; begin again), refused, unshared (nothing is served here), unsupported (the verb is not known),
// failed.
package file
