-- What all scripts begin with. KEYS[1] names the room, user or session; everything else of it is a key that begins so.
-- ARGV[1] is the time in milliseconds since 1970, ARGV[2] who calls ("node:ticket"), ARGV[3] "SPUBLISH" in a cluster, where
-- channels belong to the server that keeps the room, or else the name of the server that this is.
local K = KEYS[1]
local now, origin = tonumber(ARGV[1]), ARGV[2]
local publish = ARGV[3] == 'SPUBLISH' and 'SPUBLISH' or 'PUBLISH'
local call = redis.call

-- While a slot of a cluster is on its way to another server, some of what a script works on may be there already, and it
-- would fail half way: it does not begin.
if publish == 'SPUBLISH' and type(redis.pcall('EXISTS', K, K .. ':-')) ~= 'number' then return '{"x":"unsettled"}' end

-- The server that this room is on.
local function server()
  if publish == 'SPUBLISH' then return call('CLUSTER', 'MYID') end
  return ARGV[3]
end

-- A refusal, by a word for the reason.
local function refuse(why)
  return '{"x":"' .. why .. '"}'
end
