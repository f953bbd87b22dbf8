-- The start of all scripts. KEYS[1] is the key of the room, user, session or node; all other keys of it begin with that.
-- Arguments: 1 time in milliseconds since 1970; 2 the call, as "node:ticket"; 3 "SPUBLISH" in a cluster with sharded channels,
-- or else the name of this server.
local key, now, origin = KEYS[1], tonumber(ARGV[1]), ARGV[2]
local publish = ARGV[3] == 'SPUBLISH' and 'SPUBLISH' or 'PUBLISH'
local call = redis.call

-- While a slot of a cluster moves to another server, some keys can be there already, and a script would fail half way: it
-- does not begin.
if publish == 'SPUBLISH' and type(redis.pcall('EXISTS', key, key .. ':-')) ~= 'number' then return '{"x":"unsettled"}' end

-- Name of the server that keeps the key.
local function server()
  if publish == 'SPUBLISH' then return call('CLUSTER', 'MYID') end
  return ARGV[3]
end

-- A refusal, by a word for the reason.
local function refuse(why)
  return '{"x":"' .. why .. '"}'
end
