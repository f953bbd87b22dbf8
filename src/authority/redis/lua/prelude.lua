-- What all scripts begin with. KEYS[1] names the room, user or session; everything else of it is a key that begins so.
-- ARGV[1] is the time in milliseconds since 1970, ARGV[2] who calls ("node:ticket"), ARGV[3] the command that publishes.
local K = KEYS[1]
local now, origin, publish = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local call = redis.call

-- While a slot of a cluster is on its way to another server, some of what a script works on may be there already, and it
-- would fail half way: it does not begin.
if publish == 'SPUBLISH' and type(redis.pcall('EXISTS', K, K .. ':-')) ~= 'number' then return '{"x":"unsettled"}' end

-- The server that this room is on: by its name in the cluster, or else by what the nodes have noted of it.
local function server()
  if publish == 'SPUBLISH' then return call('CLUSTER', 'MYID') end
  return call('GET', string.sub(K, 1, string.find(K, ':room:{', 1, true)) .. 'server') or ''
end

-- A refusal, by a word for the reason.
local function refuse(why)
  return '{"x":"' .. why .. '"}'
end
