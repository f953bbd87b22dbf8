-- leave: a node stops. The others clean up when its clients have had time to return; until then the node has a number,
-- but no name, so it does not count as alive.
local node, name, grace_ms = ARGV[4], ARGV[5], tonumber(ARGV[6])
if call('HGET', key .. ':names', node) == name then
  call('HDEL', key .. ':names', node)
  call('ZADD', key, 'XX', clock() + grace_ms, node)
end
return '{}'
